from datetime import UTC, datetime
from pathlib import Path

from runtime.dead_letters import FileDeadLetters
from schemas.dead_letter import DeadLetter, Origin, RejectReason


def letter(original: bytes, about: str | None = None) -> DeadLetter:
    return DeadLetter(
        stage="embedder",
        reason=RejectReason.EMPTY,
        detail="0 bytes",
        object=about,
        origin=Origin(topic="image-events", partition=0, offset=0),
        original=original,
        release="1",
        occurred_at=datetime.now(UTC),
    )


async def test_letters_are_kept_with_their_original_bytes(tmp_path: Path) -> None:
    kept = FileDeadLetters(tmp_path / "letters")
    await kept.write([letter(b"\xff\x00"), letter(b"other")])
    assert {one.original async for _, one in kept.read()} == {b"\xff\x00", b"other"}


async def test_a_letter_about_the_same_object_replaces_the_one_before(tmp_path: Path) -> None:
    kept = FileDeadLetters(tmp_path)
    await kept.write([letter(b"first", "folder://p/a.jpg"), letter(b"x", "folder://p/b.jpg")])
    await kept.write([letter(b"second", "folder://p/a.jpg")])
    assert {one.original async for _, one in kept.read()} == {b"second", b"x"}


async def test_a_removed_letter_is_gone_and_a_damaged_file_is_passed_over(tmp_path: Path) -> None:
    kept = FileDeadLetters(tmp_path)
    await kept.write([letter(b"a", "folder://p/a.jpg")])
    (tmp_path / "damaged.json").write_text("{")
    ids = [one async for one, _ in kept.read()]
    assert len(ids) == 1
    await kept.remove(ids)
    assert [one async for one, _ in kept.read()] == []


async def test_a_folder_without_letters_has_none(tmp_path: Path) -> None:
    assert [one async for one, _ in FileDeadLetters(tmp_path / "none").read()] == []
