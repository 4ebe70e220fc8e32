"""What the demo asks of its index: words that it knows the answers to, and a picture."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from cli.embedded import EmbeddedPipeline
from cli.parts import Parts
from cli.search import answer_of
from cli.serving import index_status, search_app
from encoders.encoder import Modality
from imaging.sample_scenes import SampleScene, counted
from runtime.probes import Probes

CAPTIONS = 100
SHOWN_QUERIES = 3
DEPTH = 5


@dataclass(frozen=True)
class Recall:
    """Of `asked` queries, those with a right answer first, and among the first `DEPTH`."""

    asked: int
    first: int
    among: int

    def __str__(self) -> str:
        """Such as "R@1 0.91, R@5 0.98"."""
        return f"R@1 {self.first / self.asked:.2f}, R@{DEPTH} {self.among / self.asked:.2f}"


async def show_searches(
    parts: Parts, pipeline: EmbeddedPipeline, shown: Mapping[str, SampleScene], console: Console
) -> None:
    """Search by words and by picture over the HTTP API, and say how often the right scene was found."""
    async with _client(parts, pipeline) as client:
        keys = list(shown)
        if pipeline.engine.encoder.modality is Modality.IMAGES_AND_WORDS:
            await _by_words(client, shown, keys, console)
        else:
            console.print(f"\n{pipeline.engine.identity.model} knows no words; sightline-small does")
        key = keys[len(keys) // 2]
        path = shown[key].path
        answer = answer_of(
            await client.post("/v1/search", params={"limit": 4}, files={"image": (path.name, path.read_bytes())})
        )
        console.print(f"\nsearch by the picture {key} ({answer['took_ms']:.0f} ms)")
        _show(answer["results"], shown, console)


async def _by_words(
    client: httpx.AsyncClient, shown: Mapping[str, SampleScene], keys: Sequence[str], console: Console
) -> None:
    chosen = keys[:: max(1, len(keys) // CAPTIONS)][:CAPTIONS]
    for key in chosen[5 : 5 + SHOWN_QUERIES]:
        caption = shown[key].caption
        answer = answer_of(await client.get("/v1/search", params={"q": caption, "limit": 3}))
        console.print(f'\nsearch "{caption}" ({answer["took_ms"]:.0f} ms)')
        _show(answer["results"], shown, console)
    captions = {
        shown[key].caption: {other for other in keys if shown[other].caption == shown[key].caption} for key in chosen
    }
    whole = await _recall(client, captions)
    console.print(f"\n{whole.asked} captions of scenes among {len(keys)}, each for its own: {whole}")
    names = sorted({name for scene in shown.values() for name, _ in scene.things})
    single = await _recall(
        client,
        {
            f"a picture of {counted(1, name)}": {key for key in keys if name in dict(shown[key].things)}
            for name in names
        },
    )
    console.print(f'{single.asked} names as in "a picture of {counted(1, names[0])}", for any scene with it: {single}')


async def _recall(client: httpx.AsyncClient, queries: Mapping[str, set[str]]) -> Recall:
    first = among = 0
    for words, right in queries.items():
        answer = answer_of(await client.get("/v1/search", params={"q": words, "limit": DEPTH}))
        found = [result["key"] for result in answer["results"]]
        first += bool(right & set(found[:1]))
        among += bool(right & set(found))
    return Recall(len(queries), first, among)


def _show(results: Sequence[Mapping[str, Any]], shown: Mapping[str, SampleScene], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("score", "key", "what it shows"):
        table.add_column(column)
    for result in results:
        scene = shown.get(result["key"])
        table.add_row(f"{result['score']:.3f}", result["key"], scene.caption if scene else "")
    console.print(table)


@asynccontextmanager
async def _client(parts: Parts, pipeline: EmbeddedPipeline) -> AsyncIterator[httpx.AsyncClient]:
    index, engine = pipeline.index, pipeline.engine
    app = search_app(parts, index, engine, Probes(), lambda: index_status(index, engine))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sightline") as client:
        yield client
