"""A collection to ask: clustered unit vectors with the payloads of photographs, and the filters that people use."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from encoders.vocabulary import Vocabulary
from schemas.collection import PointPayload, Status
from schemas.events import EncoderIdentity, Tag, point_id
from stores.vectors import Point, Vectors

CLUSTERS = 300
SPREAD = 0.9
"""Length of what is added to a cluster's centre, in each dimension, where the centre's own is 1."""
BUCKETS = {"holidays": 60, "archive": 22, "press": 10, "products": 5, "scans": 2, "trash": 1}
CAMERAS = {"Canon EOS R6": 25, "Pixel 8": 25, "iPhone 15 Pro": 20, "DJI Mini 4": 5, "Leica Q3": 1, None: 24}
FORMATS = {"jpeg": 80, "heic": 10, "png": 8, "webp": 2}
FIRST = datetime(2015, 1, 1, tzinfo=UTC)
DAYS = 3650
TAGS = 4
"""Of each image."""


@dataclass(frozen=True)
class FilterKind:
    """A filter in an address line, and what it is to be called."""

    name: str
    query: dict[str, str]


def filter_kinds(tag: str, rare_tag: str) -> list[FilterKind]:
    """Every filter that the API knows, narrow ones and some that hold for nearly all."""
    return [
        FilterKind("bucket, most images", {"bucket": "holidays"}),
        FilterKind("bucket, few images", {"bucket": "scans"}),
        FilterKind("source, all images", {"source": "s3"}),
        FilterKind("prefix, all images", {"prefix": "photographs/"}),
        FilterKind("prefix, half a word", {"prefix": "photographs/201"}),
        FilterKind("prefix, one month", {"prefix": "photographs/2019/05/"}),
        FilterKind("tag, many images", {"tag": tag}),
        FilterKind("tag, few images", {"tag": rare_tag}),
        FilterKind("tag_score, many images", {"tag": tag, "tag_score": "0.1"}),
        FilterKind("tag_score, few images", {"tag": tag, "tag_score": "0.62"}),
        FilterKind("camera", {"camera": "Pixel 8"}),
        FilterKind("format, most images", {"format": "jpeg"}),
        FilterKind("taken, all dated images", {"taken_after": "2000-01-01"}),
        FilterKind("taken, one year", {"taken_after": "2019-01-01", "taken_before": "2020-01-01"}),
        FilterKind("taken, a year and a half", {"taken_after": "2019-01-01", "taken_before": "2020-07-01"}),
        FilterKind("taken, one day", {"taken_after": "2019-05-03", "taken_before": "2019-05-04"}),
        FilterKind("uploaded, half", {"uploaded_before": "2024-06-01"}),
        FilterKind("size, half", {"size_min": "3000000"}),
        FilterKind("size, all", {"size_max": "100000000"}),
        FilterKind("bucket, tag and year", {"bucket": "holidays", "tag": tag, "taken_after": "2019-01-01"}),
        FilterKind(
            "any of two, not a third",
            {
                "filter": f'{{"all":[{{"any":[{{"bucket":"holidays"}},{{"camera":"Pixel 8"}}]}},'
                f'{{"not":{{"tag":"{tag}"}}}}]}}'
            },
        ),
        FilterKind(
            "any of two dates, not a size",
            {
                "filter": '{"all":[{"any":[{"taken_before":"2018-01-01"},{"taken_after":"2021-01-01"}]},'
                '{"not":{"size_min":5000000}}]}'
            },
        ),
    ]


class Photographs:
    """Points of photographs, numbered from `first` on; the same ones each time."""

    def __init__(self, encoder: EncoderIdentity, vocabulary: Vocabulary, *, first: int = 0) -> None:
        self._encoder = encoder
        self._random = random.Random(first)
        self._numbers = np.random.default_rng(first)
        self._centres = np.random.default_rng(0).normal(size=(CLUSTERS, encoder.dimension))
        self._vocabulary = vocabulary.tags
        # A few tags are on very many images, as in any real collection.
        self._weights = [1 / (rank + 1) for rank in range(len(self._vocabulary))]
        self._next = first

    @property
    def common_tag(self) -> str:
        """The tag of the most images."""
        return self._vocabulary[0]

    @property
    def rare_tag(self) -> str:
        """The tag of the fewest."""
        return self._vocabulary[-1]

    def points(self, count: int, chunk: int = 1000) -> Iterator[list[Point]]:
        """The next `count` points, some at a time."""
        for start in range(0, count, chunk):
            yield [self.point(vector) for vector in self._vectors(min(chunk, count - start))]

    def point(self, vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Point:
        """The next point, with this vector."""
        number, self._next = self._next, self._next + 1
        payload = self._payload(number)
        return Point(point_id(payload.source, payload.bucket, payload.key), payload, vector)

    def _vectors(self, count: int) -> Vectors:
        centres = self._centres[self._numbers.integers(0, CLUSTERS, count)]
        vectors = centres + SPREAD * self._numbers.normal(size=centres.shape)
        unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def _payload(self, number: int) -> PointPayload:
        chance = self._random
        taken = FIRST + timedelta(seconds=chance.randrange(DAYS * 86400))
        uploaded = FIRST + timedelta(days=DAYS * 0.9, seconds=number * 500)
        bucket = chance.choices(list(BUCKETS), list(BUCKETS.values()))[0]
        return PointPayload(
            source="s3",
            bucket=bucket,
            key=f"photographs/{taken:%Y/%m}/IMG_{number:08}.jpg",
            status=Status.INDEXED,
            version=1_772_368_217_042 + number,
            model=self._encoder.model,
            fingerprint=self._encoder.fingerprint,
            indexed_at=uploaded + timedelta(seconds=1),
            etag=f"{number:032x}",
            size=int(chance.lognormvariate(15, 0.5)),
            content_type="image/jpeg",
            uploaded_at=uploaded,
            width=4032,
            height=3024,
            format=chance.choices(list(FORMATS), list(FORMATS.values()))[0],
            taken_at=taken if chance.random() < 0.85 else None,
            camera=chance.choices(list(CAMERAS), list(CAMERAS.values()))[0],
            orientation=1,
            sha256=f"{number:064x}",
            tags=self._tags(),
            tags_version="0" * 16,
        )

    def _tags(self) -> tuple[Tag, ...]:
        names = list(dict.fromkeys(self._random.choices(self._vocabulary, self._weights, k=TAGS)))
        shares = sorted((self._random.random() ** 2 for _ in names), reverse=True)
        total = sum(shares) + 0.1
        return tuple(Tag(tag=name, score=share / total) for name, share in zip(names, shares, strict=True))
