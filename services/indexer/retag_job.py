"""`/v1/retag`: tagging anew where the index is open, one run at a time, asked for and followed over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from runtime.log import Log
from schemas.errors import DependencyUnavailable
from schemas.events import Tag
from services.indexer.retag import Progress, Retagged, Retagger, Tagging
from stores.vectors import VectorIndex

PROMPT = 0.02
"""Seconds that a request waits for its run to begin, so that a short one is over by the first question."""


class RetagState(StrEnum):
    """How far the last run came."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class RetagRequest(BaseModel):
    """What to tag anew, and by which settings whoever asks believes it will be done."""

    model_config = ConfigDict(extra="forbid")

    everything: bool = Field(False, description="Images whose tags are up to date too.")
    settings: str | None = Field(
        None, description="The digest of the settings of tags; refused if others are in force."
    )
    collection: str | None = Field(None, description="The collection that is meant; refused if it is another.")


class RetagAnswer(BaseModel):
    """The run under way, or the last one. `left`: images with other tags after it, once it is done."""

    state: RetagState = RetagState.IDLE
    done: int = 0
    total: int = 0
    seconds: float | None = None
    left: int | None = None
    detail: str | None = None


class ChangeAnswer(BaseModel):
    """One image's tags as they are, and as they would be."""

    bucket: str
    key: str
    before: tuple[Tag, ...]
    after: tuple[Tag, ...]


class RetagPreview(BaseModel):
    """What a run would do: how many images have tags of other settings, and what would become of a few."""

    outdated: int
    changes: list[ChangeAnswer]


async def preview_of(retagger: Retagger) -> RetagPreview:
    """Count and sample; changes nothing."""
    changes = [
        ChangeAnswer(bucket=one.bucket, key=one.key, before=one.before, after=one.after)
        for one in await retagger.sample()
    ]
    return RetagPreview(outdated=await retagger.outdated(), changes=changes)


class RetagJob:
    """Runs when it is asked to. `tagging` answers None where the model cannot tag; `settings` is their digest.

    Index and model are entered and left by whoever owns them.
    """

    def __init__(
        self,
        index: VectorIndex,
        tagging: Callable[[], Awaitable[Tagging | None]],
        *,
        collection: str,
        settings: str,
        log: Log,
    ) -> None:
        self._index = index
        self._tagging = tagging
        self._collection = collection
        self._settings = settings
        self._log = log
        self._asked: asyncio.Queue[Retagger] = asyncio.Queue(1)
        self._answer = RetagAnswer()
        self.router = APIRouter(prefix="/v1/retag", tags=["operation"])
        self.router.add_api_route("", self._start, methods=["POST"], status_code=202, summary="Tag images anew")
        self.router.add_api_route("", self._state, methods=["GET"], summary="How far the run is")
        self.router.add_api_route("/preview", self._preview, methods=["POST"], summary="What a run would do")

    async def run(self, stop: asyncio.Event) -> None:
        """Do what is asked for until `stop`; a run under way is cut off, and the next one does the rest."""
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

    async def _work(self) -> None:
        while True:
            retagger = await self._asked.get()
            try:
                done = await retagger.run(self._told)
            except DependencyUnavailable as error:
                self._log.warning("retag_failed", str(error), dependency=error.dependency)
                self._answer = self._answer.model_copy(update={"state": RetagState.FAILED, "detail": str(error)})
            else:
                self._finish(done)

    def _told(self, progress: Progress) -> None:
        self._answer = RetagAnswer(state=RetagState.RUNNING, done=progress.done, total=progress.total)

    def _finish(self, done: Retagged) -> None:
        self._log.info(
            "retagged", f"{done.images} images have new tags", seconds=round(done.seconds, 3), left=done.left
        )
        self._answer = RetagAnswer(
            state=RetagState.DONE, done=done.images, total=done.images, seconds=done.seconds, left=done.left
        )

    async def _start(self, asked: RetagRequest, request: Request) -> RetagAnswer:
        """Begin a run, or answer the one under way. Ask with GET until `state` is `done` or `failed`."""
        retagger = await self._retagger(asked, request)
        if self._answer.state is not RetagState.RUNNING:
            self._answer = RetagAnswer(state=RetagState.RUNNING)
            self._asked.put_nowait(retagger)
            await asyncio.sleep(PROMPT)
        return self._answer

    async def _state(self) -> RetagAnswer:
        """The run under way, or the last one of this process."""
        return self._answer

    async def _preview(self, asked: RetagRequest, request: Request) -> RetagPreview:
        """How many images have tags of other settings, and what would become of a few; changes nothing."""
        return await preview_of(await self._retagger(asked, request))

    async def _retagger(self, asked: RetagRequest, request: Request) -> Retagger:
        if "origin" in request.headers:
            # Any page in a browser of this machine can reach loopback; a browser names the page's origin.
            raise HTTPException(403, "a page in a browser cannot ask for new tags; run `sightline retag`")
        if asked.collection not in (None, self._collection):
            raise HTTPException(
                409,
                f"this process has the collection {self._collection}, not {asked.collection}; leave --model out to "
                "retag that one, or stop the process to retag the other",
            )
        if asked.settings not in (None, self._settings):
            raise HTTPException(
                409,
                "this process makes tags by other settings than yours. Start it again with the settings you want, then "
                "retag; or run the command with the SIGHTLINE_TAGS__ settings that this process has",
            )
        tagging = await self._tagging()
        if tagging is None:
            raise HTTPException(
                409, "this process makes no tags: they are switched off, or its log says why under tags_off"
            )
        return Retagger(self._index, tagging, everything=asked.everything)
