"""`sightline status`: what runs, how many indexed, rejected, waiting, since when."""

import json
from typing import Any

from cli.address import find_running
from cli.search import answer_of, search_client
from runtime.lifecycle import ExitCode
from runtime.settings import Settings


async def status(settings: Settings, *, as_json: bool) -> ExitCode:
    """Print the state of the data folder's index and of the process that serves it, if one does."""
    running = find_running(settings.data_dir)
    async with search_client(settings) as client:
        answer: dict[str, Any] = answer_of(await client.get("/v1/status"))
    if running is not None:
        answer |= {"pid": running.pid, "url": running.url, "since": running.since.isoformat()}
    if as_json:
        print(json.dumps({"running": running is not None, **answer}))
        return ExitCode.CLEAN
    if running is None:
        print(f"nothing runs on {settings.data_dir}")
    else:
        print(f"{running.what} runs since {running.since:%Y-%m-%d %H:%M:%S} UTC (process {running.pid}, {running.url})")
    waiting = "" if answer["waiting"] is None else f", {answer['waiting']} waiting"
    print(
        f"{answer['model']}: {answer['indexed']} indexed, {answer['rejected']} rejected, {answer['gone']} gone{waiting}"
    )
    for line in answer.get("waiting_for", []):
        print(f"waiting for {line}")
    return ExitCode.CLEAN
