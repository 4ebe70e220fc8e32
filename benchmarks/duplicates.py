"""How long it takes to page through the duplicates of 100,000 images, and what that costs those who search meanwhile.

    python -m benchmarks.duplicates [--images 100000] [--folder FOLDER]

Copies are planted among the images of `make bench-queries`: the same bytes, and the same picture with a little noise in
its vector. Printed are, for each kind, the groups found, the pages, the seconds of a page and of all, and the times of
one person's searches meanwhile beside those of the same person alone.
"""

import argparse
import asyncio
import hashlib
import itertools
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.queries import Asker, Timings
from benchmarks.query_collection import Photographs
from encoders.catalogue import SMALL
from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from encoders.vocabulary import make_vocabulary
from runtime.probes import Probes
from schemas.collection import CollectionMetadata
from schemas.events import point_id
from services.search.api import create_app
from services.search.ranking.duplicates import DuplicateKind
from stores.sharded_edge import ShardedEdge
from stores.vectors import Point, Where

PLANTED = 200
"""Of each kind."""
COSINE = 0.995
"""Of a picture that was stored again with its original: docs/relevance.md has the measured ones."""


def copies(originals: Sequence[Point], kind: DuplicateKind) -> list[Point]:
    """One copy of each image under another key."""
    numbers, made = np.random.default_rng(1), []
    for original in originals:
        assert original.vector is not None
        vector = np.asarray(original.vector)
        key = f"copies/{kind.value}/{original.payload.key}"
        if kind is DuplicateKind.EXACT:
            changed = original.payload.model_copy(update={"key": key})
        else:
            aside = numbers.normal(size=vector.shape)
            aside -= (aside @ vector) * vector
            vector = COSINE * vector + (1 - COSINE**2) ** 0.5 * aside / np.linalg.norm(aside)
            other = hashlib.sha256(key.encode()).hexdigest()
            changed = original.payload.model_copy(update={"key": key, "sha256": other})
        made.append(Point(point_id(changed.source, changed.bucket, key), changed, vector.astype(np.float32)))
    return made


async def page_through(client: httpx.AsyncClient, kind: DuplicateKind) -> tuple[list[int], list[float]]:
    """The sizes of all groups, and the seconds of each page."""
    sizes: list[int] = []
    seconds: list[float] = []
    cursor: str | None = None
    while True:
        asked = {"kind": kind.value, "limit": "100"} | ({"cursor": cursor} if cursor else {})
        started = time.perf_counter()
        answer = await client.get("/v1/duplicates", params=asked, timeout=300)
        seconds.append(time.perf_counter() - started)
        answer.raise_for_status()
        sizes += [len(group["images"]) for group in answer.json()["groups"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return sizes, seconds


async def measure(client: httpx.AsyncClient, asker: Asker, kind: DuplicateKind) -> None:
    """Page through one kind while one person searches, and print."""
    alone, meanwhile = Timings(), Timings()
    for _ in range(100):
        await asker.ask(alone, {})
    paging = asyncio.create_task(page_through(client, kind))
    while not paging.done():
        await asker.ask(meanwhile, {})
        await asyncio.sleep(0.05)
    sizes, seconds = await paging
    p50, p99 = np.percentile(seconds, (50, 99))
    print(
        f"{kind.value}: {len(sizes)} groups ({PLANTED} were planted) on {len(seconds)} pages in {sum(seconds):.1f} s; "
        f"a page p50 {p50:.2f} s, p99 {p99:.2f} s\n"
        f"  searches alone p50 {alone.at(50):.1f} ms, p99 {alone.at(99):.1f} ms; "
        f"meanwhile {len(meanwhile.whole)} with p50 {meanwhile.at(50):.1f} ms, p99 {meanwhile.at(99):.1f} ms",
        flush=True,
    )


async def bench(images: int, folder: Path) -> None:
    """Fill an index, plant copies, page through them, and print."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(EncoderEngine(make_encoder(SMALL, device="cpu")))
        index = await stack.enter_async_context(ShardedEdge(folder, "images__bench"))
        await index.ensure(CollectionMetadata(encoder=engine.identity, created_at=datetime.now(UTC)))
        there = await index.count(Where(status=None))
        for points in Photographs(engine.identity, make_vocabulary(), first=there).points(max(0, images - there)):
            await index.write(points)
        originals = itertools.chain.from_iterable(Photographs(engine.identity, make_vocabulary()).points(2 * PLANTED))
        for kind in (DuplicateKind.EXACT, DuplicateKind.RE_ENCODED):
            chosen = list(itertools.islice(originals, PLANTED))
            await index.write([*chosen, *copies(chosen, kind)])
        count = await index.count(Where())
        load = os.getloadavg()[0]
        print(f"{os.cpu_count()} processors, load {load:.2f}; {count:,} images, {engine.identity.dimension} dimensions")
        app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry())
        transport = httpx.ASGITransport(app)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://search"))
        asker = Asker(app, index)
        for _ in range(20):
            await asker.ask(Timings(), {})
        for kind in DuplicateKind:
            await measure(client, asker, kind)


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=100_000, help="how many images the collection holds")
    parser.add_argument("--folder", type=Path, help="keep the index here, and use what an earlier run left")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        asyncio.run(bench(options.images, options.folder or Path(folder)))


if __name__ == "__main__":
    main()
