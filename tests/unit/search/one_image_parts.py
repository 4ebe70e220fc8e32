"""A folder of pictures whose objects are in an index, and an app that shows them; for tests of one image's routes."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI
from PIL import Image
from prometheus_client import CollectorRegistry

from cli.originals import SourceStores
from runtime.probes import Probes
from schemas.codec import Message
from schemas.dead_letter import DeadLetter
from services.search.api import create_app
from services.search.one_image.circumstances import Verdict
from services.search.one_image.originals import Originals
from services.search.one_image.parts import OneImage
from services.search.one_image.retry import Hints
from services.search.one_image.thumbnail_files import ThumbnailFiles
from services.search.one_image.thumbnails import Thumbnails
from stores.folder import FolderClock, FolderStore
from stores.objects import Seen
from stores.vectors import Point, VectorIndex
from tests.unit.search.conftest import image_point
from tests.unit.search.fakes import FakeEngine

MAX_BYTES = 10_000_000


def picture(colour: str = "teal", size: tuple[int, int] = (400, 300), name: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, name)
    return buffer.getvalue()


class CountingStore(FolderStore):
    """A folder that counts the looks at it, and lets a test into the middle of one."""

    looks = 0
    during: Callable[[], object] = staticmethod(lambda: None)

    async def look(self, key: str, **options):  # type: ignore[no-untyped-def]
        self.looks += 1
        self.during()
        return await super().look(key, **options)


@dataclass
class Sent:
    """A publisher that keeps what it is given."""

    messages: list[Message] = field(default_factory=list)

    async def publish(self, messages: Sequence[Message]) -> None:
        self.messages += messages


@dataclass
class Rules:
    """Rules that a test sets."""

    refused: Verdict | None = None
    found: Sequence[DeadLetter] | None = ()
    away: Sequence[str] = ()
    follows: Sequence[tuple[str, str]] = (("folder", "pictures"),)

    def verdict(self, source: str, bucket: str, key: str) -> Verdict:
        return self.refused or Verdict(True)

    def places(self) -> Sequence[tuple[str, str]]:
        return self.follows

    async def letters(self, source: str, bucket: str, key: str) -> Sequence[DeadLetter] | None:
        return self.found

    def waiting_for(self) -> Sequence[str]:
        return self.away


@dataclass
class Gallery:
    """The folder `pictures`, its index, and the app's parts."""

    root: Path
    store: CountingStore
    index: VectorIndex
    files: ThumbnailFiles
    thumbnails: Thumbnails
    parts: OneImage
    sent: Sent
    rules: Rules

    async def add(self, key: str, data: bytes, **fields: object) -> Point:
        """Put a file there and index it as it is."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        glance = await self.store.glance(key)
        assert isinstance(glance, Seen)
        known: dict[str, object] = {
            "etag": glance.facts.etag,
            "size": glance.facts.size,
            "format": "jpeg",
            "sha256": hashlib.sha256(data).hexdigest(),
            "uploaded_at": glance.facts.modified_at,
        }
        point = image_point(key, source="folder", bucket="pictures", **(known | fields))
        await self.index.write([point])
        return point

    def app(self, engine: FakeEngine, parts: OneImage | None = None) -> FastAPI:
        return create_app(
            self.index,
            engine,
            probes=Probes(),
            registry=CollectorRegistry(),
            one_image=self.parts if parts is None else parts,
        )


def make_gallery(root: Path, cache: Path, index: VectorIndex, *, cache_bytes: int = 1_000_000) -> Gallery:
    root.mkdir(exist_ok=True)
    store = CountingStore(root, max_bytes=MAX_BYTES, clock=FolderClock(0))
    originals = Originals(SourceStores(store))
    files = ThumbnailFiles(cache, cache_bytes)
    thumbnails = Thumbnails(originals, files, max_pixels=1_000_000)
    sent, rules = Sent(), Rules()
    parts = OneImage(originals=originals, thumbnails=thumbnails, hints=Hints(sent), rules=rules)
    return Gallery(root, store, index, files, thumbnails, parts, sent, rules)
