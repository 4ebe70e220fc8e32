"""The tags of single photos that are named by their paths."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from encoders.tagger import TagsImpossible
from imaging.formats import BadImage
from schemas.events import Tag
from services.search.embedding import EmbeddingEngine
from services.search.problems import Problem, ProblemKind, bad_parameter
from services.search.tagging.photo_roots import PhotoRoots, Place
from stores.vectors import Vectors

MOST_TAGS = 256
LONGEST_TAG = 100
"""Characters."""
SCORE_DIGITS = 4


class Tagger(Protocol):
    """Tags for vectors; `encoders.tagger` is one."""

    version: str
    """Equal only where the same vector gets the same tags."""

    def tags(self, vectors: Vectors) -> Sequence[tuple[Tag, ...]]:
        """The tags of each row of unit vectors of shape (n, d), the best first."""
        ...


TaggerFor = Callable[[tuple[str, ...], int], Awaitable[Tagger]]
"""A tagger for these tags, or the default ones where there are none, that gives an image so many at most.

Raises `TagsImpossible` where the model's words name no pictures.
"""


@dataclass(frozen=True)
class PhotoTags:
    """The tags of one photo; or, with none, `error`: a sentence that says why."""

    tags: Sequence[Tag] = ()
    taken_at: datetime | None = None
    error: str | None = None

    def as_json(self, image_path: str) -> dict[str, object]:
        """As it is answered, under the path by which the photo was named."""
        return {
            "image_path": image_path,
            "tags": [[tag.tag, round(tag.score, SCORE_DIGITS)] for tag in self.tags],
            "exif_datetime": exif_text(self.taken_at),
            "error": self.error,
        }


class PhotoTagging:
    """Reads photos below the roots and tags them."""

    def __init__(
        self, engine: EmbeddingEngine, tagger_for: TaggerFor, roots: PhotoRoots, *, image_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self.roots = roots
        self._tagger_for = tagger_for
        self._engine = engine
        self._image_bytes = image_bytes

    async def one(self, path: str, tags: Sequence[str], top_k: int) -> PhotoTags:
        """The tags of one photo.

        Raises `Problem` for a path outside the roots and for what is no tag, `ConfigurationError`,
        `DependencyUnavailable`. What is wrong with the photo itself is its `error`.
        """
        wanted = checked_tags(tags)
        place = await asyncio.to_thread(self.roots.place, path)
        return await self.of_file(place, await self.tagger(wanted, top_k))

    async def tagger(self, tags: tuple[str, ...], top_k: int) -> Tagger:
        """The tagger for these tags. Raises `Problem` 422 where the model's words name no pictures."""
        try:
            return await self._tagger_for(tags, top_k)
        except TagsImpossible as error:
            raise Problem(
                422,
                ProblemKind.MODEL_GIVES_NO_TAGS,
                str(error),
                "Ask a service whose model takes images and words (`sightline models` lists them).",
            ) from error

    async def of_file(self, place: Place, tagger: Tagger) -> PhotoTags:
        """The tags of the file at a place."""
        name = place.path.name
        read = await asyncio.to_thread(place.root.read, place.key, self._image_bytes) if place.key else None
        if read is None:
            return PhotoTags(error=f"There is no file {name} that can be read.")
        if read.data is None:
            return PhotoTags(error=f"The file {name} is larger than {self._image_bytes} bytes.")
        try:
            image = await self._engine.embed_image(read.data, key=place.key)
        except BadImage as error:
            return PhotoTags(error=f"The image {name} cannot be used: {error.detail}.")
        return PhotoTags(tagger.tags(image.vector[None])[0], image.image.taken_at)


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags to choose among, each once; none stand for the default ones. Raises `Problem` 422 for what is no tag."""
    if len(tags) > MOST_TAGS:
        raise bad_parameter("tags", f"it has {len(tags)} tags; at most {MOST_TAGS} are compared")
    for number, tag in enumerate(tags):
        if not tag.strip() or len(tag) > LONGEST_TAG or not tag.isprintable():
            raise bad_parameter(f"tags.{number}", f"a tag has 1 to {LONGEST_TAG} printable characters")
    return tuple(dict.fromkeys(tags))


def exif_text(moment: datetime | None) -> str | None:
    """A camera's date as EXIF writes it."""
    # Years below 1000 lose their zeros in strftime on some systems.
    return None if moment is None else f"{moment.year:04}:{moment:%m:%d %H:%M:%S}"
