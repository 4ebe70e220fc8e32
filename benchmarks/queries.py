"""How long a search takes: 100,000 images in an Edge index, asked through the whole API by words, with every filter.

Run with `make bench-queries`, or `python -m benchmarks.queries --images 20000 --seconds 10` for a quicker figure. What
is timed is a request to the app as `sightline up` builds it, from its first byte to the last of the answer, with the
model that comes with Sightline and with the text encoded each time; network and client are left out. Beside the time
stands the processor time of service and index together, which a busy machine changes less. Three parts, each printed
as it ends: one question at a time without filters, with each filter in turn, and eight people at once while images are
decoded, embedded and written.
"""

import argparse
import asyncio
import io
import itertools
import json
import math
import os
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import numpy as np
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message

from benchmarks.query_collection import FilterKind, Photographs, filter_kinds
from encoders.catalogue import SMALL
from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from encoders.vocabulary import make_vocabulary
from imaging.samples import SCENES
from runtime.garbage import keep_what_is_loaded
from runtime.probes import Probes
from schemas.collection import CollectionMetadata
from services.search.api import create_app
from stores.sharded_edge import ShardedEdge
from stores.vectors import Where

P50_MS, P99_MS, BUSY_P99_MS, MOST_TIMES = 15.0, 60.0, 300.0, 3.0
"""Targets on two processors: with filters, while images are indexed, and of a filter against none."""
USERS = 8
NEW_IMAGES = 1000
AT_ONCE = 16
"""Images that are embedded at a time while people ask."""
STEPS = ("embed", "search", "payload")
_SUBJECTS = ("dog", "cat", "beach", "car", "birthday cake", "lake", "street", "child", "bicycle", "ship", "tree", "cup")
_LOOKS = ("", "red ", "small ", "old ", "blue ", "shiny ", "broken ", "wooden ", "big ", "dark ", "wet ", "yellow ")
_PLACES = ("", " in the snow", " at night", " in a city", " from above", " on a table", " in the rain", " by the sea")


def questions() -> Iterator[str]:
    """Words that were not asked before, as long as any are left: what was asked a moment ago need not be encoded."""
    every = [f"{look}{subject}{place}" for subject in _SUBJECTS for look in _LOOKS for place in _PLACES]
    random.Random(1).shuffle(every)
    for number in itertools.count():
        yield from (f"{text} {number or ''}".strip() for text in every)


@dataclass
class Timings:
    """Milliseconds of requests of one kind: whole, of each step, and of the processors."""

    whole: list[float] = field(default_factory=list)
    processors: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    results: int = 0

    def add(self, ms: float, processors: float, answer: Mapping[str, object]) -> None:
        """One answered request."""
        self.whole.append(ms)
        self.processors.append(processors)
        steps = answer["steps_ms"]
        assert isinstance(steps, dict)
        for name in STEPS:
            self.steps[name].append(steps[name])
        self.steps["http and JSON"].append(ms - sum(steps[name] for name in STEPS))
        results = answer["results"]
        assert isinstance(results, list)
        self.results += len(results)

    def at(self, percentile: float) -> float:
        """Of whole requests."""
        return float(np.percentile(self.whole, percentile))

    @property
    def processor(self) -> float:
        """The median of the processor time."""
        return float(np.median(self.processors))

    def step(self, name: str) -> float:
        """The median of a step."""
        return float(np.median(self.steps[name]))


class Refused(Exception):
    """A search that was not answered with 200."""


@dataclass
class Asker:
    """Asks one question after another, each with another text."""

    app: ASGIApp
    index: ShardedEdge
    texts: Iterator[str] = field(default_factory=questions)

    async def ask(self, timings: Timings, query: Mapping[str, str]) -> None:
        """One search by words. Raises `Refused`."""
        scope = search_scope({"q": next(self.texts), **query})
        # What reading /proc takes is in neither.
        used = self._index_ms() + time.process_time() * 1000
        started = time.perf_counter()
        status, body = await answered(self.app, scope)
        ms = (time.perf_counter() - started) * 1000
        used = time.process_time() * 1000 + self._index_ms() - used
        if status != 200:
            raise Refused(f"{status}: {body.decode()}")
        timings.add(ms, used, json.loads(body))

    def _index_ms(self) -> float:
        """Milliseconds of processor that the processes of the index have used; 0 without /proc."""
        threads = [one for pid in self.index.process_ids for one in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(one.read_text().split()[0]) for one in threads) / 1e6


def search_scope(query: Mapping[str, str]) -> dict[str, Any]:
    """A request as the server hands it to the app: GET /v1/search."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/search",
        "raw_path": b"/v1/search",
        "query_string": urlencode(query).encode(),
        "root_path": "",
        "headers": [(b"host", b"search"), (b"accept", b"application/json")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
    }


async def answered(app: ASGIApp, scope: dict[str, Any]) -> tuple[int, bytes]:
    """Status and body of the app's answer."""
    status, body, whole = 0, bytearray(), asyncio.Event()
    requests: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not requests:
            await whole.wait()
            return {"type": "http.disconnect"}
        return requests.pop()

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, send)
    whole.set()
    return status, bytes(body)


def verdict(value: float, most: float) -> str:
    """Whether a target is met."""
    return f"{'met' if value < most else 'MISSED'} (< {most:g})"


async def alone(asker: Asker, count: int) -> None:
    """One question at a time without filters; prints the share of each step."""
    timings = Timings()
    for _ in range(count):
        await asker.ask(timings, {})
    print(f"\none question at a time, no filter: p50 {timings.at(50):.1f} ms, p99 {timings.at(99):.1f} ms, of which")
    for name in (*STEPS, "http and JSON"):
        print(f"  {name:14} {timings.step(name):6.2f} ms  {timings.step(name) / timings.at(50):4.0%}")
    print(f"  processor time of service and index {timings.processor:.1f} ms")


async def filtered(asker: Asker, kinds: Sequence[FilterKind], count: int) -> None:
    """Each filter in turn with none, so that both see the same machine; prints the times as many ms."""
    plain = Timings()
    each = {kind.name: Timings() for kind in kinds}
    for _ in range(count):
        for kind in kinds:
            await asker.ask(each[kind.name], kind.query)
        for _ in range(4):
            await asker.ask(plain, {})
    columns = ("p50 ms", "p99 ms", "search ms", "times none", "processor ms", "times none", "results")
    print(f"\n{'filter':34} {' '.join(f'{one:>12}' for one in columns)}")
    for name, timings in (("none", plain), *each.items()):
        row = (
            timings.at(50),
            timings.at(99),
            timings.step("search"),
            timings.at(50) / plain.at(50),
            timings.processor,
            timings.processor / plain.processor,
            timings.results / len(timings.whole),
        )
        print(f"{name:34} {' '.join(f'{one:12.2f}' for one in row)}")
    everything = [ms for timings in each.values() for ms in timings.whole]
    p50, p99 = np.percentile(everything, (50, 99))
    worst = max(timings.at(50) / plain.at(50) for timings in each.values())
    most = max(timings.processor / plain.processor for timings in each.values())
    print(f"all filters: p50 {p50:.1f} ms, {verdict(p50, P50_MS)}; p99 {p99:.1f} ms, {verdict(p99, P99_MS)}")
    print(
        f"slowest filter: {worst:.2f} times as long as none, {verdict(worst, MOST_TIMES)}; processor {most:.2f} times"
    )


async def busy(
    asker: Asker, kinds: Sequence[FilterKind], seconds: float, photographs: Photographs, index: ShardedEdge,
    engine: EncoderEngine,
) -> None:  # fmt: skip
    """Eight people at once, half of whose questions have a filter, while images are indexed."""
    ends = time.perf_counter() + seconds
    during, after, errors = Timings(), Timings(), list[Exception]()
    queries = [*(kind.query for kind in kinds), *({} for _ in kinds)]
    indexing = asyncio.create_task(index_images(photographs, index, engine))

    async def user(number: int) -> None:
        chance = random.Random(number)
        while time.perf_counter() < ends:
            try:
                await asker.ask(after if indexing.done() else during, chance.choice(queries))
            except Refused as error:
                errors.append(error)

    await asyncio.gather(*(user(number) for number in range(USERS)))
    took = await indexing
    print(f"\n{USERS} people for {seconds:g} s; {NEW_IMAGES:,} images embedded and written in {took:.1f} s meanwhile")
    for name, timings in (("while images are indexed", during), ("afterwards", after)):
        if timings.whole:
            print(
                f"  {name:24} {len(timings.whole):6,} questions: p50 {timings.at(50):.1f} ms, "
                f"p99 {timings.at(99):.1f} ms, slowest {max(timings.whole):.0f} ms"
            )
    for name, whole in (("while indexing", during.whole), ("of the whole time", during.whole + after.whole)):
        p99 = float(np.percentile(whole, 99)) if whole else math.inf
        print(f"p99 {name}: {p99:.1f} ms, {verdict(p99, BUSY_P99_MS)}")
    print(f"errors: {len(errors)} {errors[0] if errors else ''}")


async def index_images(photographs: Photographs, index: ShardedEdge, engine: EncoderEngine) -> float:
    """Decode, embed and write as fast as it goes; answer the seconds.

    What is written are other vectors than those of the few pictures, which would all be near-duplicates.
    """
    points = itertools.chain.from_iterable(photographs.points(NEW_IMAGES))
    images = [jpeg(seed) for seed in range(20)]
    started = time.perf_counter()
    for start in range(0, NEW_IMAGES, AT_ONCE):
        count = min(AT_ONCE, NEW_IMAGES - start)
        await asyncio.gather(*(engine.embed_image(images[(start + n) % len(images)]) for n in range(count)))
        await index.write(list(itertools.islice(points, count)))
    return time.perf_counter() - started


def jpeg(seed: int) -> bytes:
    """A drawn picture of 1200 x 900 pixels."""
    scene = list(SCENES.values())[seed % len(SCENES)]
    written = io.BytesIO()
    scene(np.random.default_rng(seed), 1200, 900).save(written, "JPEG", quality=85)
    return written.getvalue()


async def bench(images: int, questions: int, seconds: float, folder: Path) -> None:
    """Fill an index, ask, and print."""
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(EncoderEngine(make_encoder(SMALL, device="cpu")))
        index = await stack.enter_async_context(ShardedEdge(folder, "images__bench"))
        await index.ensure(CollectionMetadata(encoder=engine.identity, created_at=datetime.now(UTC)))
        print(f"{os.cpu_count()} processors, load {load}; {images:,} images, {engine.identity.dimension} dimensions")
        there = await index.count(Where(status=None))
        photographs = Photographs(engine.identity, make_vocabulary(), first=there)
        started = time.perf_counter()
        for points in photographs.points(max(0, images - there)):
            await index.write(points)
        print(f"{there:,} were there, the rest was written in {time.perf_counter() - started:.0f} s", flush=True)
        app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry())
        asker, kinds = Asker(app, index), filter_kinds(photographs.common_tag, photographs.rare_tag)
        for _ in range(20):
            await asker.ask(Timings(), {})
        keep_what_is_loaded()
        await alone(asker, questions)
        await filtered(asker, kinds, max(1, questions // 10))
        await busy(asker, kinds, seconds, photographs, index, engine)
    print(f"load now {os.getloadavg()[0]:.2f}")


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=100_000, help="how many images the collection holds")
    parser.add_argument("--questions", type=int, default=300, help="how many questions without a filter")
    parser.add_argument("--seconds", type=float, default=60, help="for how long several people ask at once")
    parser.add_argument("--folder", type=Path, help="keep the index here, and use what an earlier run left")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        kept = options.folder or Path(folder)
        asyncio.run(bench(options.images, options.questions, options.seconds, kept))


if __name__ == "__main__":
    main()
