"""Words, images and ids to results; and pages through what is indexed. Knows nothing of HTTP but its problems."""

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from imaging.formats import BadImage
from schemas.collection import CollectionMetadata, Status
from schemas.dead_letter import RejectReason
from services.search.embedding import EmbeddingEngine
from services.search.options import ListOptions, SearchOptions
from services.search.problems import Problem, ProblemKind, bad_parameter
from stores.vectors import ForeignCollection, Hit, Page, StoredPoint, Vector, VectorIndex, Where

RECHECK_SECONDS = 60.0
"""How long the collection's identity is believed: readers follow an alias, which may be moved under them."""


class Searcher:
    """Searches one index with one engine. Every method may raise `DependencyUnavailable`.

    While there is no collection yet, nothing is indexed: results and pages are empty, and that is no error.
    """

    def __init__(
        self, index: VectorIndex, engine: EmbeddingEngine, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._index = index
        self._engine = engine
        self._clock = clock
        self._known: tuple[float, CollectionMetadata] | None = None

    async def by_text(self, text: str, options: SearchOptions) -> Sequence[Hit]:
        """The images nearest to words, best first. Raises `ForeignCollection`."""
        comparable = await self._comparable()
        vectors = await self._engine.embed_texts([text])
        return await self._nearest(vectors[0], options) if comparable else []

    async def by_image(self, data: bytes, options: SearchOptions, *, name: str = "") -> Sequence[Hit]:
        """The images nearest to an encoded image, best first. Raises `BadImage`, `ForeignCollection`.

        `name` is the image's file name, for models that read names.
        """
        if not data:
            raise BadImage(RejectReason.EMPTY, "it has no bytes")
        comparable = await self._comparable()
        image = await self._engine.embed_image(data, key=name or None, urgent=True)
        return await self._nearest(image.vector, options) if comparable else []

    async def by_id(self, image: UUID, options: SearchOptions) -> Sequence[Hit]:
        """The images nearest to an indexed one, best first, itself left out.

        Needs no encoder: the stored vector is compared with its like. Raises `Problem` 404.
        """
        point = await self.one(image, status=Status.INDEXED, vector=True)
        if point.vector is None:
            raise Problem(
                404, ProblemKind.NO_SUCH_IMAGE, f"The image {image} has no vector.", "Search by its bytes instead."
            )
        return await self._index.search(
            point.vector, limit=options.limit, threshold=options.threshold, where=options.where(without=(image,))
        )

    async def one(self, image: UUID, *, status: Status | None, vector: bool) -> StoredPoint:
        """One image by its id, of any status where that is None. Raises `Problem` 404, saying what became of it."""
        points = await self._index.get([image], with_vectors=vector) if await self._collection() else []
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

    async def page(self, options: ListOptions) -> Page:
        """A page of all images that match. Raises `Problem` 422 for a cursor that is none of this listing's."""
        if await self._collection() is None:
            return Page([], None)
        try:
            return await self._index.scroll(options.where(), limit=options.limit, cursor=options.cursor)
        except ValueError:
            raise bad_parameter(
                "cursor", "it is no cursor of this listing; leave it out to begin with the first page"
            ) from None

    async def _nearest(self, vector: Vector, options: SearchOptions) -> Sequence[Hit]:
        return await self._index.search(vector, limit=options.limit, threshold=options.threshold, where=options.where())

    async def _comparable(self) -> bool:
        """Whether there is a collection to search with this engine's vectors. Raises `ForeignCollection`."""
        metadata = await self._collection()
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

    async def _collection(self) -> CollectionMetadata | None:
        now = self._clock()
        if self._known is not None and now - self._known[0] < RECHECK_SECONDS:
            return self._known[1]
        metadata = await self._index.metadata()
        self._known = None if metadata is None else (now, metadata)
        return metadata


async def counts(index: VectorIndex) -> dict[Status, int]:
    """How many images of each status there are; zeros while there is no collection. Raises `DependencyUnavailable`."""
    if await index.metadata() is None:
        return dict.fromkeys(Status, 0)
    return {status: await index.count(Where(status=status)) for status in Status}


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
