"""Tags for all photos of a folder, made in the background.

Where the index holds the folder's files, the tags come from the stored vectors and are stored with the images, so that
every search and count knows them (docs/decisions/0021). The others are read, and their tags kept with the job.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from runtime.access.gate import EVERYBODY, Caller
from runtime.access.scopes import Scope
from runtime.log import Log
from schemas.collection import Status
from schemas.errors import SightlineError
from schemas.events import point_id
from services.search.problems import RETRY_AFTER_SECONDS, Problem, ProblemKind
from services.search.tagging.photo_roots import Place
from services.search.tagging.photo_tagging import PhotoTagging, PhotoTags, Tagger, checked_tags
from services.search.tagging.tag_jobs import DirectoryJob, DirectoryJobs, JobState
from stores.vectors import NewTags, StoredPoint, VectorIndex, Vectors

FILES_AT_ONCE = 256
"""Files whose stored vectors are asked for together: half a megabyte at 512 dimensions."""
READ_AT_ONCE = 16
"""Files that are in memory at a time."""
WAITING_JOBS = 16
EVERY_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""So long is a file waited for that the index does not hold yet, while no other comes in."""


class DirectoryTagging:
    """Takes jobs and does them one after the other while `run` runs. Without an index every photo is read."""

    def __init__(
        self,
        photos: PhotoTagging,
        index: VectorIndex | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
        every: float = EVERY_SECONDS,
    ) -> None:
        self.jobs = DirectoryJobs()
        self._photos = photos
        self._index = index
        self._patience = patience
        self._every = every
        self._waiting: deque[DirectoryJob] = deque()
        self._asked = asyncio.Event()
        self._log = Log("sightline.search")

    async def start(
        self, directory: str, tags: Sequence[str], suffixes: Sequence[str], top_k: int, caller: Caller = EVERYBODY
    ) -> DirectoryJob:
        """Count the photos of a folder with one of these suffixes, whatever their case, and queue the job.

        Raises `Problem`: 403 outside the roots, or where tags would be written into the index for a caller without
        the scope `admin`, 404 where there is no such folder, 422 for what is no tag or cannot be tagged with, 429
        while too many jobs wait.
        """
        wanted = checked_tags(tags)
        endings = tuple("." + suffix.lower().removeprefix(".") for suffix in suffixes)
        await self._photos.tagger(wanted, top_k)
        place, files = await asyncio.to_thread(self._counted, directory, endings, caller)
        if len(self._waiting) >= WAITING_JOBS:
            raise Problem(
                429,
                ProblemKind.TOO_MANY_JOBS,
                f"{WAITING_JOBS} folders wait to be tagged, which is as many as may.",
                "Try again when one of them is done.",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        job = DirectoryJob(directory, place, wanted, endings, top_k, files)
        self.jobs.add(job)
        self._waiting.append(job)
        self._asked.set()
        return job

    async def run(self, stop: asyncio.Event) -> None:
        """Do what is asked for until `stop`; a job under way is cut off."""
        working = asyncio.create_task(self._work())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    def _counted(self, directory: str, endings: tuple[str, ...], caller: Caller) -> tuple[Place, int]:
        place = self._photos.roots.place(directory)
        if self._indexed_as(place) is not None and not caller.may(Scope.ADMIN):
            raise _may_not_write(caller)
        if not _is_folder(place.path):
            raise Problem(
                404,
                ProblemKind.NO_SUCH_FOLDER,
                f"There is no folder {directory[:200]}.",
                "Name a folder that exists; a single photo is tagged by POST /tag/image.",
            )
        return place, sum(1 for _ in place.root.files(place.key, endings))

    def _indexed_as(self, place: Place) -> tuple[str, str] | None:
        """Source and bucket of a place whose tags are written into the index."""
        return None if self._index is None else place.root.indexed_as

    async def _work(self) -> None:
        while True:
            self._asked.clear()
            while self._waiting:
                await self._do(self._waiting.popleft())
            await self._asked.wait()

    async def _do(self, job: DirectoryJob) -> None:
        job.state = JobState.RUNNING
        try:
            tagger = await self._photos.tagger(job.tags, job.top_k)
            left = await self._tag_indexed(job, tagger)
            async for keys in _batches(left, READ_AT_ONCE):
                places = [Place(job.place.root, key) for key in keys]
                photos = await asyncio.gather(*(self._photos.of_file(place, tagger) for place in places))
                for key, photo in zip(keys, photos, strict=True):
                    job.has_read(key, photo)
        except (SightlineError, Problem) as error:
            job.state, job.detail = JobState.FAILED, str(error)
            self._log.warning("folder_not_tagged", f"Not all photos of a folder were tagged: {error}")
            return
        job.state = JobState.DONE
        self._log.info(
            "folder_tagged",
            f"{job.stored + job.read} of {job.files_count} photos of a folder were tagged",
            stored=job.stored,
            read=job.read,
            failed=job.failed,
        )

    async def _tag_indexed(self, job: DirectoryJob, tagger: Tagger) -> Iterator[str]:
        """Tag what the index holds, or is about to hold; answer the keys of the others."""
        files = job.place.root.files(job.place.key, job.endings)
        indexed_as = self._indexed_as(job.place)
        if self._index is None or indexed_as is None:
            return files
        tagging = _IndexedPhotos(self._index, job, tagger, *indexed_as)
        missing = await tagging.tag(files)
        idle = 0.0
        while missing and idle < self._patience:
            await asyncio.sleep(self._every)
            still = await tagging.tag(iter(missing))
            idle = idle + self._every if len(still) == len(missing) else 0.0
            missing = still
        return iter(missing)


class _IndexedPhotos:
    """Tags the images of an index from their stored vectors."""

    def __init__(self, index: VectorIndex, job: DirectoryJob, tagger: Tagger, source: str, bucket: str) -> None:
        self._index = index
        self._job = job
        self._tagger = tagger
        self._source = source
        self._bucket = bucket

    async def tag(self, files: Iterator[str]) -> list[str]:
        """Tag files by their keys; answer the keys of those that the index does not know. Raises what it raises."""
        missing: list[str] = []
        async for keys in _batches(files, FILES_AT_ONCE):
            by_id = {point_id(self._source, self._bucket, key): key for key in keys}
            points = {point.id: point for point in await self._index.get(list(by_id), with_vectors=True)}
            indexed: list[StoredPoint] = []
            vectors: list[Vectors] = []
            for point, key in by_id.items():
                found = points.get(point)
                if found is not None and found.payload.status is Status.REJECTED:
                    self._job.has_read(key, PhotoTags(error=f"The image cannot be used: {found.payload.detail}."))
                elif found is not None and found.vector is not None:
                    indexed.append(found)
                    vectors.append(found.vector)
                else:
                    missing.append(key)
            if indexed:
                await self._store(indexed, vectors)
        return missing

    async def _store(self, points: Sequence[StoredPoint], vectors: Sequence[Vectors]) -> None:
        tags = await asyncio.to_thread(lambda: self._tagger.tags(_rows(vectors)))
        version = self._tagger.version
        await self._index.set_tags(
            [
                NewTags(point.id, point.payload.version, several, version)
                for point, several in zip(points, tags, strict=True)
            ]
        )
        for several in tags:
            self._job.has_stored(several)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, or a folder that this process may not look into
        return False


def _may_not_write(caller: Caller) -> Problem:
    """As the gate refuses a key that lacks a scope. It lets `embed` pass here, for folders that are only read."""
    return Problem(
        403,
        ProblemKind.FORBIDDEN,
        f"The key {caller.name} lacks the scope admin: this folder is indexed, so everybody would search by its tags.",
        "Use a key that has both: `sightline keys new --name NAME --scope embed,admin` makes one. POST /tag/image tags "
        "a photo and changes nothing.",
        headers={"WWW-Authenticate": f'Bearer realm="sightline", error="insufficient_scope", scope="{Scope.ADMIN}"'},
        scope=Scope.ADMIN.value,
    )


def _rows(vectors: Sequence[Vectors]) -> Vectors:
    rows: Vectors = np.stack(vectors)
    return rows


async def _batches(items: Iterator[str], size: int) -> AsyncIterator[list[str]]:
    """Several at a time; taking them may mean to read folders, which blocks."""
    while batch := await asyncio.to_thread(lambda: list(islice(items, size))):
        yield batch
