"""Images tagged anew per second: an Edge collection of random unit vectors, retagged with 14 and with 100 tags.

Run with `make bench-retag`, or `python -m benchmarks.retag --images 20000` for a quicker figure. The parts are timed
one after the other first (reading vectors, tagging, writing tags): together they overlap.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from encoders.encoder import Scoring
from encoders.tagger import Tagger
from encoders.vocabulary import Vocabulary
from schemas.collection import CollectionMetadata, PointPayload, Status
from schemas.events import EncoderIdentity, Tag, point_id
from services.indexer.retag import PAGE, Retagger
from stores.sharded_edge import ShardedEdge
from stores.vectors import NewTags, Point, VectorPage, Vectors, Where

DIMENSION = 512
ENCODER = EncoderIdentity(model="random", fingerprint="0-0-fp32", dimension=DIMENSION)
VOCABULARIES = (14, 100)
LEAST_RATE = 5000
"""Images a second on two processors."""
PART = 10_000
"""Images over which each part is timed alone."""


def unit_vectors(count: int, seed: int) -> Vectors:
    """Random unit vectors of shape (count, DIMENSION)."""
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def tagger_of(tags: int) -> Tagger:
    """A tagger with random directions: the work is the same as with a model's."""
    names = tuple(f"tag {number}" for number in range(tags))
    vocabulary = Vocabulary(names, tuple((name,) for name in names))
    return Tagger(vocabulary, unit_vectors(tags, tags), Scoring("softmax", 100.0), encoder=ENCODER)


def payload_of(number: int, tags: tuple[Tag, ...]) -> PointPayload:
    """What the indexer writes for a photograph in a bucket."""
    now = datetime.now(UTC)
    return PointPayload(
        source="s3",
        bucket="photographs",
        key=f"2026/03/{number % 31 + 1:02}/IMG_{number:08}.jpg",
        status=Status.INDEXED,
        version=1_772_368_217_042 + number,
        model=ENCODER.model,
        fingerprint=ENCODER.fingerprint,
        indexed_at=now,
        etag=f"{number:032x}",
        size=2_000_000 + number,
        content_type="image/jpeg",
        uploaded_at=now,
        width=4032,
        height=3024,
        format="JPEG",
        taken_at=now,
        camera=f"Camera {number % 40}",
        orientation=1,
        sha256=f"{number:064x}",
        tags=tags,
        tags_version="before",
    )


async def fill(index: ShardedEdge, images: int) -> None:
    """Write points as the indexer does, with tags of an older vocabulary."""
    await index.ensure(CollectionMetadata(encoder=ENCODER, created_at=datetime.now(UTC)))
    before = tagger_of(20)
    for start in range(0, images, PAGE):
        vectors = unit_vectors(min(PAGE, images - start), start)
        await index.write(
            [
                Point(point_id("s3", "photographs", str(start + row)), payload_of(start + row, tags), vectors[row])
                for row, tags in enumerate(before.tags(vectors))
            ]
        )


async def parts(index: ShardedEdge, tagger: Tagger, images: int) -> None:
    """Time reading, tagging and writing alone, and print microseconds an image."""
    pages: list[VectorPage] = []
    cursor: str | None = None
    with timed(f"  reading vectors alone, {images:,} images", images):
        while sum(len(page.ids) for page in pages) < images:
            pages.append(await index.scroll_vectors(Where(), limit=PAGE, cursor=cursor))
            cursor = pages[-1].cursor
            if cursor is None:
                break
    with timed("  tagging alone", images):
        tags = [tagger.tags(page.vectors) for page in pages]
    news = [
        NewTags(one, version, several, "parts")
        for page, rows in zip(pages, tags, strict=True)
        for one, version, several in zip(page.ids, page.versions, rows, strict=True)
    ]
    with timed("  writing tags alone", images):
        await index.set_tags(news)


@contextmanager
def timed(what: str, images: int) -> Iterator[None]:
    """Print what took how long."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    print(f"{what}: {images / seconds:,.0f} images/s, {seconds / images * 1e6:.0f} µs an image", flush=True)


async def bench(images: int, folder: Path) -> None:
    """Fill, then retag with each vocabulary, and print."""
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    print(f"{os.cpu_count()} processors, load {load}; {images:,} images of {DIMENSION} dimensions", flush=True)
    async with ShardedEdge(folder, "images__random") as index:
        with timed("filling", images):
            await fill(index, images)
        print(f"the index takes {bytes_on_disk(folder) / 1e6:,.0f} MB on the disk")
        for size in VOCABULARIES:
            print(f"{size} tags:")
            tagger = tagger_of(size)
            await parts(index, tagger, min(images, PART))
            ours, its = time.process_time(), processor_seconds(index)
            done = await Retagger(index, tagger, everything=True).run()
            ours, its = time.process_time() - ours, processor_seconds(index) - its
            assert (done.images, done.left) == (images, 0), done
            rate, used = images / done.seconds, (ours + its) / done.seconds
            print(f"  retag of {images:,} images: {rate:,.0f} images/s in {done.seconds:.1f} s, {verdict(rate)}")
            print(f"  processor time of the index {its:.1f} s, of the rest {ours:.1f} s: {used:.2f} processors at work")
            started = time.perf_counter()
            again = await Retagger(index, tagger).run()
            assert again.images == 0, again
            print(f"  a second run finds nothing to do in {(time.perf_counter() - started) * 1000:.0f} ms")
            print(f"  the index takes {bytes_on_disk(folder) / 1e6:,.0f} MB on the disk")
    print(f"load now {os.getloadavg()[0]:.2f}")


def verdict(rate: float) -> str:
    """Whether the target is met."""
    return f"{'met' if rate >= LEAST_RATE else 'MISSED'} (>= {LEAST_RATE:,})"


def processor_seconds(index: ShardedEdge) -> float:
    """What the processes of the index have used so far; 0 where there is no /proc."""
    stats = [Path(f"/proc/{one}/stat") for one in index.process_ids]
    ticks = [one.read_text().rpartition(")")[2].split()[11:13] for one in stats if one.exists()]
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


def bytes_on_disk(folder: Path) -> int:
    """What the files below a folder occupy."""
    return sum(one.stat().st_blocks * 512 for one in folder.rglob("*") if one.is_file())


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=100_000, help="how many images the collection holds")
    images = parser.parse_args().images
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        asyncio.run(bench(images, Path(folder)))


if __name__ == "__main__":
    main()
