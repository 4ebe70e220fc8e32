from pathlib import Path

import pytest

from stores import folder_files
from stores.folder import FolderClock, FolderStore
from stores.objects import Seen


async def test_a_file_that_changes_while_a_part_is_read_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"first bytes")
    plain = folder_files._read

    def read_and_change(*arguments: object) -> bytes:
        data = plain(*arguments)  # type: ignore[arg-type]
        path.write_bytes(b"other bytes, and more of them")
        return data

    async with FolderStore(tmp_path, max_bytes=1000, clock=FolderClock(0)) as store:
        glance = await store.glance("a.jpg")
        assert isinstance(glance, Seen)
        monkeypatch.setattr(folder_files, "_read", read_and_change)
        assert await store.part("a.jpg", etag=glance.facts.etag, start=0, length=5) is None


async def test_nothing_outside_the_folder_is_shown(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(b"secret")
    root = tmp_path / "photos"
    root.mkdir()
    (root / "link.jpg").symlink_to(tmp_path / "secret.txt")
    (root / "sub").symlink_to(tmp_path)
    async with FolderStore(root, max_bytes=1000, clock=FolderClock(0)) as store:
        for key in ("../secret.txt", "link.jpg", "sub/secret.txt", "/etc/passwd", "sub/../../secret.txt"):
            assert not isinstance(await store.glance(key), Seen), key
            assert await store.part(key, etag="x", start=0, length=5) is None
