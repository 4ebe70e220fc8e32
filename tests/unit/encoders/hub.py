"""A model hub's cache, laid out as the hub's own client does it, and a hub that cannot be reached."""

from pathlib import Path

import pytest

REVISION = "0" * 40


class Hub:
    """The cache in a folder of the test's own; nothing is ever asked over a network."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))

    def add(self, repository: str, name: str, content: bytes | Path) -> Path:
        """A file of a repository; a path is linked to."""
        place = self.folder / f"models--{repository.replace('/', '--')}"
        path = place / "snapshots" / REVISION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(REVISION)
        if isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
        return path
