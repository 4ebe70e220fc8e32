import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from imaging.samples import draw_samples
from schemas.codec import decode_dead_letter
from schemas.dead_letter import RejectReason
from tests.end_to_end.running import Running, run_command, sightline, wait_for


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_samples(tmp_path_factory.mktemp("pictures"), 80, seed=1, sizes=((160, 120), (200, 150)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def up(photos: Path, tmp_path: Path) -> Iterator[Running]:
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data") as running:
        yield running


def test_a_folder_is_followed_through_every_kind_of_change(up: Running, photos: Path, pictures: list[Path]) -> None:
    first, second, third = (path.read_bytes() for path in pictures[:3])

    (photos / "new.jpg").write_bytes(first)
    assert wait_for(lambda: up.best(first) == "new.jpg", "the new file being found") < 2.0

    (photos / "new.jpg").write_bytes(second)
    wait_for(lambda: up.best(second) == "new.jpg", "the overwritten file having its new vector", patience=5)
    assert up.best(first) is None

    (photos / "new.jpg").write_bytes(b"\xff\xd8\xff no longer a picture")
    wait_for(lambda: up.best(second) is None, "the broken file leaving the results", patience=10)
    assert list(up.images("rejected")) == ["new.jpg"]

    (photos / "new.jpg").write_bytes(third)
    wait_for(lambda: up.best(third) == "new.jpg", "the mended file being found", patience=5)
    (photos / "new.jpg").unlink()
    wait_for(lambda: up.best(third) is None, "the deleted file leaving the results", patience=5)
    assert "new.jpg" in up.images("gone")


def test_folders_that_are_moved_in_renamed_and_removed_are_followed(
    up: Running, photos: Path, pictures: list[Path], tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    (aside / "deep").mkdir(parents=True)
    for path in pictures[:5]:
        shutil.copyfile(path, aside / "deep" / path.name)
    aside.rename(photos / "in")
    names = [path.name for path in pictures[:5]]
    wait_for(lambda: sorted(up.images()) == [f"in/deep/{name}" for name in names], "the moved folder's files")
    (photos / "in").rename(photos / "renamed")
    wait_for(lambda: sorted(up.images()) == [f"renamed/deep/{name}" for name in names], "the renamed folder's files")
    shutil.rmtree(photos / "renamed")
    wait_for(lambda: up.images() == {}, "the removed folder's files going")


def test_a_thousand_files_dropped_at_once_are_all_there(
    up: Running, photos: Path, pictures: list[Path], tmp_path: Path
) -> None:
    for number in range(1000):
        picture = pictures[number % len(pictures)]
        shutil.copyfile(picture, photos / f"{number:04}{picture.suffix}")
    wait_for(lambda: up.status()["indexed"] == 1000, "all of them", patience=90)
    assert up.metric("sightline_vectors_reused_total") > 0
    assert list((up.data_dir / "dead-letters").glob("*")) == []


def test_what_is_no_image_does_no_harm(up: Running, photos: Path, pictures: list[Path]) -> None:
    whole = pictures[0].read_bytes()
    (photos / "notes.txt").write_text("not for us")
    (photos / ".hidden.jpg").write_bytes(whole)
    (photos / ".git").mkdir()
    (photos / ".git" / "x.jpg").write_bytes(whole)
    (photos / "download.jpg.part").write_bytes(whole[:100])
    (photos / "folder.jpg").mkdir()
    (photos / "dangling.jpg").symlink_to(photos / "nowhere.jpg")
    with (photos / "slow.jpg").open("wb") as half:
        half.write(whole[: len(whole) // 2])
        half.flush()
        time.sleep(1.0)  # long enough that a hint for the half file was looked at
        assert up.images("rejected") == {}
        half.write(whole[len(whole) // 2 :])
    (photos / "no extension").write_bytes(pictures[1].read_bytes())
    wait_for(lambda: sorted(up.images()) == ["no extension", "slow.jpg"], "the two images")
    assert up.images("rejected") == {}


def png_bomb(side: int) -> bytes:
    """A PNG of `side` x `side` grey pixels whose rows compress to nearly nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_four_bad_files_among_sixty_are_dead_letters_and_cost_little_memory(
    up: Running, photos: Path, pictures: list[Path]
) -> None:
    before = up.resident_bytes()
    bad = {
        "truncated.jpg": (
            next(p for p in pictures if p.suffix == ".jpg").read_bytes()[:-2000],
            RejectReason.DECODE_FAILED,
        ),
        "empty.jpg": (b"", RejectReason.EMPTY),
        "page.jpg": (b"<!doctype html><html><body>404</body></html>", RejectReason.NOT_AN_IMAGE),
        "bomb.png": (png_bomb(14_200), RejectReason.TOO_MANY_PIXELS),
    }
    for name, (data, _) in bad.items():
        (photos / name).write_bytes(data)
    for path in pictures[:60]:
        shutil.copyfile(path, photos / path.name)
    wait_for(lambda: len(up.images()) == 60 and len(up.images("rejected")) == 4, "60 found and 4 rejected")
    for path in pictures[:60]:
        assert up.best(path.read_bytes()) == path.name
    assert up.resident_bytes(peak=True) - before < 500 * 1024 * 1024
    letters = [decode_dead_letter(path.read_bytes()) for path in (up.data_dir / "dead-letters").glob("*.json")]
    assert {letter.object: letter.reason for letter in letters} == {
        f"folder://photos/{name}": reason for name, (_, reason) in bad.items()
    }
    for letter in letters:
        assert letter.object is not None
        assert letter.object.rpartition("/")[2].encode() in letter.original
    listed = run_command("dead-letters", "list", "--data-dir", up.data_dir)
    assert all(name in listed.stdout for name in bad), listed.stdout


def test_a_stop_by_signal_is_clean_and_a_restart_finds_what_changed_meanwhile(
    photos: Path, pictures: list[Path], tmp_path: Path
) -> None:
    for path in pictures[:6]:
        shutil.copyfile(path, photos / path.name)
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data") as running:
        wait_for(lambda: len(running.images()) == 6, "the first files")
        assert running.stop() == 0
    assert not (tmp_path / "data" / "address.json").exists()
    (photos / pictures[0].name).unlink()
    shutil.copyfile(pictures[7], photos / pictures[1].name)
    shutil.copyfile(pictures[8], photos / "added.jpg")
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data") as running:
        wait_for(lambda: running.best(pictures[8].read_bytes()) == "added.jpg", "the added file")
        wait_for(lambda: running.best(pictures[7].read_bytes()) == pictures[1].name, "the overwritten file")
        wait_for(lambda: pictures[0].name not in running.images(), "the removed file going")
        assert len(running.images()) == 6
        assert running.metric("sightline_looks_total", found="image") < 6, "what did not change was not looked at again"


def test_the_other_commands_ask_the_running_process(up: Running, photos: Path, pictures: list[Path]) -> None:
    shutil.copyfile(pictures[0], photos / "one.jpg")
    shutil.copyfile(pictures[1], photos / "two.jpg")
    wait_for(lambda: len(up.images()) == 2, "two images")
    by_image = run_command("search", "--image", pictures[0], "--json", "--data-dir", up.data_dir)
    assert '"one.jpg"' in by_image.stdout.partition("score")[0], by_image
    like = run_command("search", "--like", "one.jpg", "--json", "--data-dir", up.data_dir)
    assert '"two.jpg"' in like.stdout
    assert '"one.jpg"' not in like.stdout, "the example itself is no result"
    words = run_command("search", "a red house", "--data-dir", up.data_dir)
    assert words.returncode == 0, words.stderr
    shown = run_command("status", "--data-dir", up.data_dir)
    assert "2 indexed" in shown.stdout
    second = run_command("up", photos, "--port", "0", "--data-dir", up.data_dir)
    assert second.returncode == 2
    assert "in use by" in second.stderr


def test_an_index_can_be_searched_when_nothing_runs(photos: Path, pictures: list[Path], tmp_path: Path) -> None:
    for path in pictures[:10]:
        shutil.copyfile(path, photos / path.name)
    data = tmp_path / "data"
    indexed = run_command("index", photos, "--data-dir", data)
    assert indexed.returncode == 0, indexed.stderr
    assert "10 indexed" in indexed.stdout
    found = run_command("search", "--image", photos / pictures[3].name, "--limit", "1", "--json", "--data-dir", data)
    assert pictures[3].name in found.stdout, found.stderr
    again = run_command("index", photos, "--data-dir", data)
    assert "10 unchanged" in again.stdout
