"""Folders whose photos are to be tagged, and what became of each."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid4

from schemas.events import Tag
from services.search.problems import Problem, ProblemKind
from services.search.tagging.photo_roots import Place
from services.search.tagging.photo_tagging import PhotoTags

KEPT_JOBS = 64
KEPT_RESULTS = 10_000
"""Of one job; beyond them photos are tagged and counted, and their tags forgotten."""


class JobState(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class DirectoryJob:
    """One folder: `directory` as it was named, and the photos in it with one of the endings.

    Of `files_count` photos `stored` have their tags in the index, `read` have them in `results`, and `failed` have
    none, for the reason that is there. `counts` are of the first two together.
    """

    directory: str
    place: Place
    tags: tuple[str, ...]
    endings: tuple[str, ...]
    top_k: int
    files_count: int
    id: UUID = field(default_factory=uuid4)
    state: JobState = JobState.WAITING
    stored: int = 0
    read: int = 0
    failed: int = 0
    detail: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    results: list[tuple[str, PhotoTags]] = field(default_factory=list)

    def has_stored(self, tags: Sequence[Tag]) -> None:
        """The index has the tags of one more photo."""
        self.stored += 1
        self.counts.update(tag.tag for tag in tags)

    def has_read(self, key: str, photo: PhotoTags) -> None:
        """One more photo was tagged, or failed, and is not in the index."""
        if photo.error is None:
            self.read += 1
            self.counts.update(tag.tag for tag in photo.tags)
        else:
            self.failed += 1
        if len(self.results) < KEPT_RESULTS:
            self.results.append((f"{self.directory.rstrip('/')}/{key[len(self.place.key) :].lstrip('/')}", photo))


class DirectoryJobs:
    """The last jobs, by their ids."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[UUID, DirectoryJob] = OrderedDict()

    def add(self, job: DirectoryJob) -> None:
        """Keep a job, and forget the oldest where there are too many."""
        self._jobs[job.id] = job
        while len(self._jobs) > KEPT_JOBS:
            self._jobs.popitem(last=False)

    def get(self, job: UUID) -> DirectoryJob:
        """A job. Raises `Problem` 404 for one that is not known, or not any more."""
        found = self._jobs.get(job)
        if found is None:
            raise Problem(
                404,
                ProblemKind.NO_SUCH_JOB,
                f"No folder is tagged here under the id {job}, or it was too long ago.",
                f"The last {KEPT_JOBS} are kept until the service ends; ask for the folder again.",
            )
        return found
