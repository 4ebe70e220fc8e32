"""`sightline dead-letters list`: what was rejected, on Kafka or in the data folder."""

from collections.abc import AsyncIterator

from rich.console import Console
from rich.table import Table

from runtime.dead_letters import FileDeadLetters
from runtime.lifecycle import ExitCode
from runtime.settings import Settings
from schemas.codec import encode_dead_letter
from schemas.dead_letter import DeadLetter


async def list_letters(settings: Settings, *, limit: int, as_json: bool) -> ExitCode:
    """Print the newest `limit` dead letters, oldest first."""
    letters: list[DeadLetter] = []
    async for letter in _letters(settings):
        letters.append(letter)
        if len(letters) > limit:
            letters.pop(0)
    if as_json:
        for letter in letters:
            print(encode_dead_letter(letter).value.decode())
        return ExitCode.CLEAN
    console = Console(markup=False, highlight=False)
    if not letters:
        console.print("no dead letters")
        return ExitCode.CLEAN
    table = Table(box=None, pad_edge=False)
    for name in ("when", "stage", "reason", "object", "detail"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        table.add_row(
            f"{letter.occurred_at:%Y-%m-%d %H:%M:%S}",
            letter.stage,
            letter.reason.value,
            letter.object or f"{letter.origin.topic}/{letter.origin.partition}/{letter.origin.offset}",
            letter.detail,
        )
    console.print(table)
    return ExitCode.CLEAN


async def _letters(settings: Settings) -> AsyncIterator[DeadLetter]:
    if settings.kafka.bootstrap_servers:
        from runtime.kafka.dead_letters import read_dead_letters

        async for kept in read_dead_letters(settings.kafka):
            yield kept.letter
        return
    async for _, letter in FileDeadLetters(settings.data_dir / "dead-letters").read():
        yield letter
