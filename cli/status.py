"""`sightline status`: what runs, how many indexed, rejected, waiting, since when."""

import json
from typing import Any

import httpx

from cli.address import Address, find_running, key_headers
from cli.indexes import make_index
from cli.parts import Parts
from cli.search import answer_of
from runtime.lifecycle import ExitCode
from runtime.settings import Settings
from schemas.collection import Status, model_label
from stores.vectors import Where


async def status(settings: Settings, *, as_json: bool) -> ExitCode:
    """Print the state of the data folder's index and of the process that serves it, if one does."""
    running = find_running(settings.data_dir)
    answer = await _stored(settings) if running is None else await _told(running, settings)
    if as_json:
        print(json.dumps(answer | {"running": running is not None}))
        return ExitCode.CLEAN
    if running is None:
        print(f"nothing runs on {settings.data_dir}")
    else:
        print(f"{running.what} runs since {running.since:%Y-%m-%d %H:%M:%S} UTC (process {running.pid}, {running.url})")
    waiting = "" if answer.get("waiting") is None else f", {answer['waiting']} waiting"
    print(
        f"{answer['model']}: {answer['indexed']} indexed, {answer['rejected']} rejected, {answer['gone']} gone{waiting}"
    )
    for line in answer.get("waiting_for", []):
        print(f"waiting for {line}")
    return ExitCode.CLEAN


async def _told(running: Address, settings: Settings) -> dict[str, Any]:
    async with httpx.AsyncClient(
        base_url=running.url, timeout=60.0, trust_env=False, headers=key_headers(settings)
    ) as client:
        answer: dict[str, Any] = answer_of(await client.get("/v1/status"))
    return answer | {"pid": running.pid, "url": running.url, "since": running.since.isoformat()}


async def _stored(settings: Settings) -> dict[str, Any]:
    """What the index alone knows; counting needs no model."""
    async with make_index(Parts.make(settings)) as index:
        stored = await index.metadata()
        counts = {status.value: await index.count(Where(status=status)) for status in Status}
    return {"model": stored.encoder.model if stored else model_label(settings.encoder.model), **counts}
