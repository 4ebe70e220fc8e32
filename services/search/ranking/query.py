"""Examples to results, page by page; and single images. Knows nothing of HTTP but its problems."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from schemas.collection import PointPayload, Status
from services.search.collection import Collection
from services.search.embedding import EmbeddingEngine
from services.search.filters.options import Ranking, SearchOptions
from services.search.limits import DATED_DEPTH, RANKING_DEPTH
from services.search.problems import Problem, ProblemKind
from services.search.ranking.examples import Example, ExampleVectors, IndexedImage, Words
from services.search.ranking.folding import Folded, Folding
from services.search.ranking.paging import Digest, Place, after, after_date, cursor_of, date_order, digest_of, place_of
from services.search.ranking.relevance import Calibration, Scale
from services.search.ranking.steps import Steps
from services.search.urls.linked_images import LinkedImages
from stores.filters import Filter, RangeField
from stores.vectors import ForeignCollection, Hit, Ranked, StoredPoint, Vector, VectorIndex, Where

SPARE = 5
"""How much further than a page a ranking is asked for, so that what came in before it costs no second question."""

READ_DEPTH = 100
"""How much of a ranking is read with it, payloads and vectors: one question to the index in place of three, each of
which waits for those of others."""

ScaleTask: TypeAlias = "asyncio.Task[Scale | None]"
"""A scale that is being made."""


@dataclass(frozen=True)
class Found:
    """An image that was found. `score` is the cosine similarity; `relevance` is None where it is not calibrated."""

    id: UUID
    score: float
    payload: PointPayload
    relevance: float | None = None
    duplicates: int = 0


@dataclass(frozen=True)
class Results:
    """A page of results; `steps_ms` are the milliseconds of each step."""

    found: Sequence[Found]
    next_cursor: str | None
    steps_ms: Mapping[str, float]


@dataclass(frozen=True)
class Judged:
    """A ranking as it is answered: what is left of it, how relevant a score is, how many others a result stands for."""

    ranked: Sequence[Ranked]
    relevance: Callable[[float], float | None] = lambda _: None
    duplicates: Mapping[UUID, int] = field(default_factory=dict)
    payloads: Mapping[UUID, PointPayload] = field(default_factory=dict)
    """What was read on the way, of any status."""


class Searcher:
    """Searches one index with one engine. Every method may raise `DependencyUnavailable`.

    While there is no collection yet, nothing is indexed: results are empty, and that is no error.
    """

    def __init__(
        self,
        index: VectorIndex,
        engine: EmbeddingEngine,
        collection: Collection | None = None,
        *,
        urls: LinkedImages | None = None,
    ) -> None:
        self._index = index
        self._engine = engine
        self._collection = collection or Collection(index)
        self._calibration = Calibration(index, engine, self._collection)
        self._folding = Folding(index, self._collection)
        self._vectors = ExampleVectors(engine, self._stored, urls)

    async def search(
        self, examples: Sequence[Example], options: SearchOptions, *conditions: Filter, caller: str | None = None
    ) -> Results:
        """A page of the images nearest to the examples. Indexed images among these are left out of the results.

        `caller` is the name of whoever asks, where that is known. Raises `Problem`, `EngineFull`, `ForeignCollection`.
        """
        where = options.where(*conditions, without=_indexed(examples))
        subjects = [(one.subject, one.weight) for one in examples]
        digest = digest_of(subjects, where, options.threshold, options.sort, options.good_only, options.fold)
        place = place_of(options.cursor, digest, by_date=options.sort.date is not None)
        steps = Steps()
        vector = await self._vector(examples, caller)
        steps.done("embed")
        if vector is None:
            return Results([], None, steps.ms)
        async with self._scale(vector, examples) as scale:
            if options.sort.date is None:
                return await self._by_relevance(vector, where, options, scale, place, digest, steps)
            return await self._by_date(vector, where, options, scale, options.sort.date, place, digest, steps)

    async def best(
        self, examples: Sequence[Example], ranking: Ranking, *, limit: int
    ) -> tuple[Sequence[Ranked], Judged]:
        """The `limit` images nearest to the examples, best first, without what is known of them yet.

        Raises as `search` does.
        """
        vector = await self._vector(examples)
        if vector is None:
            return [], Judged([])
        where = ranking.where(without=_indexed(examples))
        async with self._scale(vector, examples) as scale:
            _, judged, rest = await self._ranked(vector, where, ranking, scale, limit)
            return rest[:limit], judged

    async def found(self, page: Sequence[Ranked], judged: Judged) -> list[Found]:
        """Results with what is known of them, without those that went since they were ranked."""
        return _found(page, await self._payloads([one.id for one in page], judged), judged)

    async def one(self, image: UUID, *, status: Status | None, vector: bool) -> StoredPoint:
        """One image by its id, of any status where that is None. Raises `Problem` 404, saying what became of it."""
        points = await self._index.get([image], with_vectors=vector) if await self._collection.metadata() else []
        if not points:
            raise Problem(
                404,
                ProblemKind.NO_SUCH_IMAGE,
                f"No image has the id {image}.",
                "Ids come from searches and from GET /v1/images; an image that has just been uploaded needs a moment.",
            )
        point = points[0]
        if status is not None and point.payload.status is not status:
            raise _of_another_status(point)
        return point

    async def _by_relevance(
        self,
        vector: Vector,
        where: Where,
        options: SearchOptions,
        scale: ScaleTask,
        place: Place | None,
        digest: Digest,
        steps: Steps,
    ) -> Results:
        ranked, judged, rest = await self._ranked(vector, where, options, scale, options.limit, place)
        page = rest[: options.limit]
        steps.done("search")
        cursor = None
        if len(rest) > len(page):
            last = page[-1]
            depth = next(number for number, one in enumerate(ranked, 1) if one.id == last.id)
            cursor = cursor_of(Place(last.score, last.id, depth), digest)
        payloads = await self._payloads([one.id for one in page], judged)
        steps.done("payload")
        return Results(_found(page, payloads, judged), cursor, steps.ms)

    async def _ranked(
        self,
        vector: Vector,
        where: Where,
        ranking: Ranking,
        scale: ScaleTask,
        limit: int,
        place: Place | None = None,
    ) -> tuple[Sequence[Ranked], Judged, Sequence[Ranked]]:
        """The nearest points; as they are judged; and of these the ones after a place, more than `limit` if there are.

        As much as that takes is asked of the index, from the best on: what is judged together must be seen together.
        """
        depth = min(RANKING_DEPTH, (place.depth if place else 0) + limit + SPARE)
        while True:
            least = await _least(ranking, scale)
            read: dict[UUID, Hit] = {}
            ranked: Sequence[Ranked]
            if depth <= READ_DEPTH:
                hits = await self._index.search(
                    vector, limit=depth, threshold=least, where=where, with_vectors=ranking.fold
                )
                ranked, read = [Ranked(hit.id, hit.score) for hit in hits], {hit.id: hit for hit in hits}
            else:
                ranked = await self._index.rank(vector, limit=depth, threshold=least, where=where)
            judged = await self._judged(ranked, ranking, scale, read)
            rest = after(place, judged.ranked)
            if len(rest) > limit or len(ranked) < depth or depth == RANKING_DEPTH:
                return ranked, judged, rest
            depth = min(RANKING_DEPTH, 2 * depth)

    async def _by_date(
        self,
        vector: Vector,
        where: Where,
        options: SearchOptions,
        scale: ScaleTask,
        date: RangeField,
        place: Place | None,
        digest: Digest,
        steps: Steps,
    ) -> Results:
        newest_first = options.sort.newest_first
        ranked = await self._index.rank(vector, limit=DATED_DEPTH, threshold=await _least(options, scale), where=where)
        judged = await self._judged(ranked, options, scale)
        steps.done("search")
        payloads = await self._payloads([one.id for one in judged.ranked], judged)
        dated = [(getattr(payloads[one.id], date.value), one.id, one) for one in judged.ranked if one.id in payloads]
        dated.sort(key=lambda one: date_order(one[0], one[1], newest_first=newest_first))
        rest = after_date(place, dated, newest_first=newest_first)
        page = rest[: options.limit]
        cursor = None
        if len(rest) > len(page):
            last = page[-1]
            cursor = cursor_of(Place(getattr(payloads[last.id], date.value), last.id), digest)
        steps.done("payload")
        return Results(_found(page, payloads, judged), cursor, steps.ms)

    @asynccontextmanager
    async def _scale(self, vector: Vector, examples: Sequence[Example]) -> AsyncIterator[ScaleTask]:
        """The scale of a query, which is made while the index looks for the nearest."""
        making = asyncio.create_task(self._calibration.of(vector, images=_share_of_images(examples)))
        try:
            yield making
        finally:
            # To one that is done this says that nobody will ask for its error, and there is nothing to wait for.
            if making.cancel():
                await asyncio.gather(making, return_exceptions=True)

    async def _vector(self, examples: Sequence[Example], caller: str | None = None) -> Vector | None:
        """What is compared with the index; None where there is nothing to compare with."""
        # Images of the index are compared with their like, whatever model is loaded here.
        comparable = len(_indexed(examples)) == len(examples) or await self._comparable()
        vector = await self._vectors.vector(examples, caller)
        return vector if comparable else None

    async def _judged(
        self, ranked: Sequence[Ranked], ranking: Ranking, scale: ScaleTask, read: Mapping[UUID, Hit] = {}
    ) -> Judged:
        if ranking.fold:
            folded = await self._folding.fold(ranked, read)
        else:
            folded = Folded(ranked, {}, {one: hit.payload for one, hit in read.items()})
        known = await scale
        relevance = known.relevance if known else lambda _: None
        return Judged(folded.ranked, relevance, folded.duplicates, folded.payloads)

    async def _payloads(self, ids: Sequence[UUID], judged: Judged) -> dict[UUID, PointPayload]:
        # An image may go between the ranking and this; it is then not answered.
        unread = [one for one in ids if one not in judged.payloads]
        read = {point.id: point.payload for point in await self._index.get(unread)} if unread else {}
        known = {one: judged.payloads.get(one) or read.get(one) for one in ids}
        return {one: payload for one, payload in known.items() if payload and payload.status is Status.INDEXED}

    async def _stored(self, image: UUID) -> StoredPoint:
        return await self.one(image, status=Status.INDEXED, vector=True)

    async def _comparable(self) -> bool:
        """Whether there is a collection to search with this engine's vectors. Raises `ForeignCollection`."""
        metadata = await self._collection.metadata()
        if metadata is None:
            return False
        stored, own = metadata.encoder, self._engine.encoder.identity
        if (stored.space, stored.dimension) != (own.space, own.dimension):
            raise ForeignCollection(
                f"The index holds vectors of {stored.model} ({stored.fingerprint}, {stored.dimension} numbers), this "
                f"service embeds with {own.model} ({own.fingerprint}, {own.dimension} numbers): they cannot be "
                f"compared. Start it with --model {stored.model}, or index anew with {own.model}"
            )
        return True


def _found(page: Sequence[Ranked], payloads: Mapping[UUID, PointPayload], judged: Judged) -> list[Found]:
    return [
        Found(one.id, one.score, payloads[one.id], judged.relevance(one.score), judged.duplicates.get(one.id, 0))
        for one in page
        if one.id in payloads
    ]


async def _least(ranking: Ranking, scale: ScaleTask) -> float | None:
    """The least cosine of a result. Without a scale nothing is known to be no good match."""
    known = await scale if ranking.good_only else None
    bounds = [ranking.threshold, known.good if known else None]
    return max((bound for bound in bounds if bound is not None), default=None)


def _share_of_images(examples: Sequence[Example]) -> float:
    """How much of a query its images are, 0 to 1, by weight."""
    weights = [abs(one.weight) for one in examples]
    images = [weight for one, weight in zip(examples, weights, strict=True) if not isinstance(one.subject, Words)]
    return sum(images) / (sum(weights) or 1.0)


def _indexed(examples: Sequence[Example]) -> tuple[UUID, ...]:
    return tuple(one.subject.id for one in examples if isinstance(one.subject, IndexedImage))


def _of_another_status(point: StoredPoint) -> Problem:
    payload = point.payload
    if payload.status is Status.REJECTED:
        detail = f"{payload.key} was rejected: {payload.detail or payload.reason}."
        remedy = "Upload a good image under the same key."
    elif payload.status is Status.GONE:
        detail = f"{payload.key} is no longer in the bucket."
        remedy = "Upload it again to find it again."
    else:
        detail = f"{payload.key} is indexed."
        remedy = "Leave `status` out."
    return Problem(
        404,
        ProblemKind.NO_SUCH_IMAGE,
        detail,
        f"{remedy} GET /v1/images/{point.id}?status={payload.status} answers what is known of it.",
        image_status=payload.status.value,
    )
