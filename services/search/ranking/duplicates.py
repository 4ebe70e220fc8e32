"""Groups of images that are the same, or nearly, page by page.

- exact: the same bytes (SHA-256). Groups come in the order of the hash.
- re-encoded: the same picture at another size or quality: vectors at least `Nearness.same` near, and sides in the same
  proportion to `SAME_SHAPE`.
- similar: vectors at least `Nearness.similar` near.

Nearness is not passed on: a may be near b and b near c, and a not near c. So that every image is in one group at most
and any two images of a group are near, whatever page is asked for first: an image whose nearest neighbours all have
greater ids leads a group; it takes in those for which it is, of all images that are near to them, the one with the
least id; and of these, in the order of ids, whoever is near to all that were taken in before. An image that is near
to a member and not to the leader is in no group until the group is gone. Groups of re-encoded images have at least two
different files, groups of similar ones at least two different pictures.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import numpy as np

from schemas.collection import PointPayload, Status
from services.search.collection import Collection
from services.search.ranking.folding import nearness_of
from services.search.ranking.neighbours import Neighbours
from services.search.ranking.paging import digest_of, foreign_cursor, unwrapped, wrapped
from stores.cursor import cursor_at, next_id_of
from stores.filters import KeywordField, Match
from stores.vectors import Vector, VectorIndex, Where

SAME_SHAPE = 0.02
"""How far the proportions of two versions of one picture may be apart: rounding to pixels, or a row cut off."""

GROUP_MOST = 1000
"""Images that are answered of one group."""

PAGE_SECONDS = 2.0
"""When a page with too few groups is answered all the same, after the comparison that is going on."""

HASHES = 5000
"""So many hashes are counted at first; as long as the last of them has two images, four times as many."""

READ_CHUNK = 200
REMEMBERED = 8
REMEMBERED_SECONDS = 60.0
"""Blocks that are kept for the next page; and for how long they and the hashes are."""


class DuplicateKind(StrEnum):
    """How much alike."""

    EXACT = "exact"
    RE_ENCODED = "re-encoded"
    SIMILAR = "similar"


@dataclass(frozen=True)
class Duplicate:
    """An image of a group; `score` is its cosine with the first one."""

    id: UUID
    payload: PointPayload
    score: float


@dataclass(frozen=True)
class Group:
    """Images in the order of their ids, two at least."""

    kind: DuplicateKind
    images: Sequence[Duplicate]


@dataclass(frozen=True)
class GroupPage:
    """Some groups; there may be few or none, and `cursor` is None on the last page."""

    groups: Sequence[Group]
    cursor: str | None


@dataclass(frozen=True)
class _Image:
    """A point that has a vector."""

    id: UUID
    payload: PointPayload
    vector: Vector


@dataclass(frozen=True)
class _Block:
    """The groups that images from `start` to before `end` lead."""

    groups: Sequence[Group]
    start: UUID
    end: UUID | None
    until: float


class Duplicates:
    """Finds duplicates in one index. Keeps nothing that it would not find again."""

    def __init__(
        self, index: VectorIndex, collection: Collection, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._index = index
        self._collection = collection
        self._clock = clock
        self._blocks: OrderedDict[tuple[DuplicateKind, UUID], _Block] = OrderedDict()
        self._hashes: tuple[float, Sequence[str]] | None = None
        self._turn = asyncio.Lock()

    async def page(self, kind: DuplicateKind, *, limit: int, cursor: str | None = None) -> GroupPage:
        """A page of groups. Raises `Problem` 422 for a cursor of another listing, `DependencyUnavailable`."""
        digest = digest_of("duplicates", kind.value)
        place = None if cursor is None else unwrapped(cursor, digest)
        metadata = await self._collection.metadata()
        if metadata is None:
            return GroupPage([], None)
        if kind is DuplicateKind.EXACT:
            groups, following = await self._exact(limit, place)
        else:
            nearness = nearness_of(metadata.encoder.model)
            if nearness is None:
                return GroupPage([], None)
            least = nearness.same if kind is DuplicateKind.RE_ENCODED else nearness.similar
            try:
                start = next_id_of(place) or UUID(int=0)
            except ValueError:
                raise foreign_cursor() from None
            # Comparing all with all is work: of several who ask, one at a time.
            async with self._turn:
                groups, following = await self._near(kind, limit, start, Neighbours(self._index, least))
        return GroupPage(groups, None if following is None else wrapped(following, digest))

    async def _exact(self, limit: int, after: str | None) -> tuple[Sequence[Group], str | None]:
        hashes = sorted(one for one in await self._repeated_hashes() if after is None or one > after)
        groups = []
        for value in hashes[:limit]:
            where = Where(filter=Match(KeywordField.SHA256, value))
            page = await self._index.scroll(where, limit=GROUP_MOST)
            if len(page.points) > 1:
                images = [Duplicate(one.id, one.payload, 1.0) for one in page.points]
                groups.append(Group(DuplicateKind.EXACT, images))
        return groups, hashes[limit - 1] if len(hashes) > limit else None

    async def _repeated_hashes(self) -> Sequence[str]:
        """The hashes that several images have, as they were within the last minute: counting holds up searches."""
        now = self._clock()
        if self._hashes is None or self._hashes[0] <= now:
            most = HASHES
            while True:
                counts = await self._index.facet(KeywordField.SHA256, Where(), limit=most)
                if len(counts) < most or counts[-1].count < 2:
                    break
                most *= 4
            self._hashes = (now + REMEMBERED_SECONDS, [one.value for one in counts if one.count > 1])
        return self._hashes[1]

    async def _near(
        self, kind: DuplicateKind, limit: int, start: UUID, neighbours: Neighbours
    ) -> tuple[Sequence[Group], str | None]:
        began = self._clock()
        groups: list[Group] = []
        following: UUID | None = start
        while following is not None:
            block = await self._block(kind, following, neighbours)
            led = [one for one in block.groups if one.images[0].id >= following]
            room = limit - len(groups)
            groups += led[:room]
            following = led[room].images[0].id if len(led) > room else block.end
            if len(groups) == limit or self._clock() - began >= PAGE_SECONDS:
                break
        return groups, cursor_at(following)

    async def _block(self, kind: DuplicateKind, start: UUID, neighbours: Neighbours) -> _Block:
        now = self._clock()
        for key, block in list(self._blocks.items()):
            if block.until <= now:
                del self._blocks[key]
            elif key[0] is kind and block.start <= start and (block.end is None or start < block.end):
                return block
        groups, end = await self._groups(kind, start, neighbours)
        block = _Block(groups, start, end, self._clock() + REMEMBERED_SECONDS)
        self._blocks[kind, start] = block
        while len(self._blocks) > REMEMBERED:
            self._blocks.popitem(last=False)
        return block

    async def _groups(
        self, kind: DuplicateKind, start: UUID, neighbours: Neighbours
    ) -> tuple[Sequence[Group], UUID | None]:
        """The groups led by the images of one block, and where the next block starts."""
        size = await neighbours.block_size()
        page = await self._index.scroll_vectors(Where(), limit=size, cursor=cursor_at(start))
        end = next_id_of(page.cursor)
        near = dict(zip(page.ids, await neighbours.of(page.vectors), strict=True))
        near = {one: others for one, others in near.items() if others != [one]}
        images = await self._read({*near, *(other for others in near.values() for other in others)})
        leaders = {one: others for one in near if (others := _alike(kind, one, near[one], images))[:1] == [one]}
        led = {leader: [one for one in others if one != leader] for leader, others in leaders.items()}
        members = sorted({one for others in led.values() for one in others})
        if not members:
            return [], end
        vectors = np.stack([images[one].vector for one in members])
        theirs = dict(zip(members, await neighbours.of(vectors, below=max(led)), strict=True))
        images |= await self._read({other for others in theirs.values() for other in others} - images.keys())
        first = {one: next(iter(_alike(kind, one, theirs[one], images)), None) for one in members}
        groups = []
        for leader, others in sorted(led.items()):
            taken = [images[leader]]
            for one in others:
                whole = all(_near(kind, images[one], other, neighbours.least) for other in taken)
                if first[one] == leader and whole and len(taken) < GROUP_MOST:
                    taken.append(images[one])
            if _is_group(kind, taken):
                groups.append(Group(kind, [_duplicate(one, taken[0]) for one in taken]))
        return groups, end

    async def _read(self, ids: set[UUID]) -> dict[UUID, _Image]:
        """The images that are still there, with their vectors."""
        asked = sorted(ids)
        found: dict[UUID, _Image] = {}
        for at in range(0, len(asked), READ_CHUNK):
            for point in await self._index.get(asked[at : at + READ_CHUNK], with_vectors=True):
                if point.payload.status is Status.INDEXED and point.vector is not None:
                    found[point.id] = _Image(point.id, point.payload, point.vector)
        return found


def _alike(kind: DuplicateKind, one: UUID, others: Sequence[UUID], images: Mapping[UUID, _Image]) -> list[UUID]:
    """Of images that are near to one by their vectors those that count, itself too; in the order of ids."""
    if one not in images:
        return []
    if kind is DuplicateKind.SIMILAR:
        return [other for other in others if other in images]
    return [other for other in others if other in images and _same_shape(images[one].payload, images[other].payload)]


def _near(kind: DuplicateKind, one: _Image, other: _Image, least: float) -> bool:
    if float(one.vector @ other.vector) < least:
        return False
    return kind is DuplicateKind.SIMILAR or _same_shape(one.payload, other.payload)


def _same_shape(one: PointPayload, other: PointPayload) -> bool:
    if not (one.width and one.height and other.width and other.height):
        return one.sha256 is not None and one.sha256 == other.sha256
    first, second = one.width / one.height, other.width / other.height
    return abs(first - second) <= SAME_SHAPE * min(first, second)


def _is_group(kind: DuplicateKind, images: Sequence[_Image]) -> bool:
    """Whether there is more in it than a stricter kind of duplicates."""
    if len({one.payload.sha256 or str(one.id) for one in images}) < 2:
        return False
    if kind is DuplicateKind.RE_ENCODED:
        return True
    first = images[0]
    same = nearness_of(first.payload.model)
    return same is None or not all(_near(DuplicateKind.RE_ENCODED, one, first, same.same) for one in images)


def _duplicate(one: _Image, first: _Image) -> Duplicate:
    return Duplicate(one.id, one.payload, min(1.0, float(one.vector @ first.vector)))
