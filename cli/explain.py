"""`sightline explain`: why is my photo found, or not?"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.known_folders import known_folders
from cli.search import answer_of, search_client
from runtime.lifecycle import ExitCode
from runtime.settings import Settings
from schemas.errors import ConfigurationError


async def explain(settings: Settings, key: str, *, bucket: str | None, as_json: bool) -> ExitCode:
    """Print the steps with their times, what holds now, and the conclusion with its remedy."""
    try:
        f"{key}{bucket}".encode()
    except UnicodeEncodeError:
        raise ConfigurationError("the key is not UTF-8; check the terminal's encoding") from None
    if bucket is None:
        bucket, key = _of_a_file(settings.data_dir, key)
    params = {"key": key} | ({"bucket": bucket} if bucket else {})
    async with search_client(settings) as client:
        answer: dict[str, Any] = answer_of(await client.get("/v1/explain", params=params))
    if answer["now"]["dead_letters"] is None and settings.kafka.bootstrap_servers:
        answer["now"]["dead_letters"] = await _letters_on_kafka(settings, answer)
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        _show(answer, Console(markup=False, highlight=False, soft_wrap=True))
    return ExitCode.CLEAN


def _of_a_file(data_dir: Path, key: str) -> tuple[str | None, str]:
    """Bucket and key of a path below a folder that is indexed; the key as it is where it is no such path."""
    path = Path(key).expanduser()
    if path.is_absolute() or path.exists():
        for name, root in known_folders(data_dir).items():
            if path.absolute().is_relative_to(root):
                return name, path.absolute().relative_to(root).as_posix()
    return None, key


async def _letters_on_kafka(settings: Settings, answer: dict[str, Any]) -> list[dict[str, Any]]:
    from runtime.kafka.dead_letters import read_dead_letters

    wanted = f"{answer['source']}://{answer['bucket']}/{answer['key']}"
    return [
        {
            "occurred_at": kept.letter.occurred_at.isoformat(),
            "stage": kept.letter.stage,
            "reason": kept.letter.reason.value,
            "detail": kept.letter.detail,
        }
        async for kept in read_dead_letters(settings.kafka)
        if kept.letter.object == wanted
    ]


def _show(answer: dict[str, Any], console: Console) -> None:
    now = answer["now"]
    console.print(f"{answer['source']}://{answer['bucket']}/{answer['key']}  {answer['status'] or 'not in the index'}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for step in answer["steps"]:
        at = _moment(step["at"])
        table.add_row(f"{'about ' if step['approximate'] else ''}{at}", step["step"].replace("_", " "), step["detail"])
    table.add_row("now", "store", _of_object(now["object"]))
    rules = now["rules"]
    if rules["wanted"] is not None:
        table.add_row("", "rules", "they let it in" if rules["wanted"] else f"it is left alone: {rules['why']}")
    if now["model"]["comparable"] is not None:
        same = "the model of this service" if now["model"]["comparable"] else f"not by {now['model']['running']}"
        table.add_row("", "model", f"indexed by {now['model']['stored']}, {same}")
    for letter in now["dead_letters"] or ():
        said = f"{letter['reason']} at the {letter['stage']} on {_moment(letter['occurred_at'])}"
        table.add_row("", "dead letter", said)
    for name in now["waiting_for"]:
        table.add_row("", "waiting for", name)
    console.print(table)
    console.print(answer["conclusion"])
    console.print(answer["remedy"])


def _of_object(found: dict[str, Any]) -> str:
    if found["exists"] is None:
        return f"cannot be asked: {found['problem']}"
    if not found["exists"]:
        return "there is no such object"
    same = {True: ", the one that is indexed", False: ", another than the one that is indexed", None: ""}[found["same"]]
    return f"{found['size']} bytes of {_moment(found['modified_at'])}{same}"


def _moment(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}" if text else "unknown"
