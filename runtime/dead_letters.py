"""Dead letters, and the budget that keeps an outage from becoming one thousand of them."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.batch import Publisher
from runtime.log import Log
from runtime.stage import Outcome, Reject
from schemas.codec import decode_dead_letter, encode_dead_letter
from schemas.dead_letter import DeadLetter, RejectReason
from schemas.errors import DependencyUnavailable, SightlineError, UndecodableRecord

_STAGES = ("ingest", "embedder", "indexer")


class DeadLetterBudgetExceeded(SightlineError):
    """Too many of the last records were rejected: more likely a bad release than bad data."""


class DeadLetterSink(Protocol):
    """Where dead letters go."""

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return only when every letter is kept. May raise `DependencyUnavailable`."""
        ...


UNCOUNTED = frozenset({RejectReason.BUCKET_NOT_ALLOWED})
"""Rejects that say nothing about this release: a store's other buckets may share its topic of notifications."""


@dataclass(frozen=True, kw_only=True)
class BudgetPolicy:
    """At most `share` of the last `window` records may be rejected; `stop=False` only warns."""

    share: float = 0.5
    window: int = 500
    least: int = 50
    """Below this many records no share is judged: three bad files in a folder of four are no outage."""
    stop: bool = True


class DeadLetterBudget:
    """Counts the last outcomes and refuses to pour a good topic into the dead letters after a bad deploy."""

    def __init__(self, policy: BudgetPolicy, log: Log) -> None:
        self._policy = policy
        self._log = log
        self._recent: deque[bool] = deque(maxlen=policy.window)
        self._rejected = 0
        self._warned = False

    def check(self, outcomes: Mapping[str, Outcome], stage: str) -> None:
        """Count a batch. Raises `DeadLetterBudgetExceeded` before its letters are written, if it spends too much."""
        for outcome in outcomes.values():
            if isinstance(outcome, Reject) and outcome.reason in UNCOUNTED:
                continue
            rejected = isinstance(outcome, Reject)
            if len(self._recent) == self._recent.maxlen:
                self._rejected -= self._recent[0]
            self._recent.append(rejected)
            self._rejected += rejected
        seen = len(self._recent)
        if seen < self._policy.least or self._rejected <= self._policy.share * seen:
            self._warned = False
            return
        sentence = (
            f"{stage}: {self._rejected} of the last {seen} records were rejected, more than {self._policy.share:.0%}. "
            "This looks like a bad release or a wrong topic rather than bad images: look at `sightline dead-letters "
            "list`, mend the cause and start again; nothing of this batch was marked done"
        )
        if self._policy.stop:
            raise DeadLetterBudgetExceeded(sentence)
        if not self._warned:
            self._warned = True
            self._log.warning("dead_letter_budget", sentence, stage=stage)


class PublishedDeadLetters:
    """Dead letters on a topic."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Publish the letters and await their acknowledgement."""
        await self._publisher.publish([encode_dead_letter(letter) for letter in letters])


class FileDeadLetters:
    """Dead letters as files under a folder, one JSON file each, for embedded mode.

    A record that is rejected again after a restart replaces its old letter: the name is the object
    where there is one, so a folder with two bad files holds two letters, however often it is read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Write each letter to a file of its own, atomically."""
        try:
            await asyncio.to_thread(self._write, letters)
        except OSError as error:
            raise DependencyUnavailable(
                "disk",
                f"dead letters cannot be written to {self._folder}: {error}",
                "Look at its free space and rights",
            ) from error

    def _write(self, letters: Sequence[DeadLetter]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for letter in letters:
            path = self._folder / f"{letter_id(letter)}.json"
            partial = path.with_suffix(".partial")
            partial.write_bytes(encode_dead_letter(letter).value)
            partial.replace(path)

    async def read(self) -> AsyncIterator[tuple[str, DeadLetter]]:
        """Every letter with its id, oldest first."""
        for path in sorted(self._folder.glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name)):
            try:
                yield path.stem, decode_dead_letter(await asyncio.to_thread(path.read_bytes))
            except (UndecodableRecord, FileNotFoundError):
                continue

    async def about(self, object_uri: str) -> Sequence[DeadLetter]:
        """The letters of any stage about one object (`source://bucket/key`), oldest first."""
        names = [_name(stage, object_uri.encode()) for stage in _STAGES]
        found: list[DeadLetter] = []
        for name in names:
            try:
                found.append(decode_dead_letter(await asyncio.to_thread((self._folder / f"{name}.json").read_bytes)))
            except (UndecodableRecord, OSError):
                continue
        return sorted(found, key=lambda letter: letter.occurred_at)

    async def remove(self, ids: Sequence[str]) -> None:
        """Forget letters, after they were redriven."""
        for one in ids:
            await asyncio.to_thread((self._folder / f"{one}.json").unlink, missing_ok=True)


def letter_id(letter: DeadLetter) -> str:
    """A name for a letter that is the same whenever the same object is rejected at the same stage."""
    # Without an object the bytes name the letter: embedded offsets begin at 0 with every start.
    what = letter.object.encode() if letter.object else letter.original
    return _name(letter.stage, what)


def _name(stage: str, what: bytes) -> str:
    return hashlib.sha256(stage.encode() + b"|" + what).hexdigest()[:20]
