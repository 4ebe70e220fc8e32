"""Where a running Sightline can be asked: a small file in the data folder, removed at exit."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
from pydantic import AwareDatetime, BaseModel, ValidationError

FILE = "address.json"


class Address(BaseModel):
    """Who serves this data folder."""

    url: str
    pid: int
    what: str
    since: AwareDatetime


@contextmanager
def leave_address(data_dir: Path, url: str, what: str) -> Iterator[None]:
    """Leave the address for the other commands, and take it away at the end if it is still ours."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / FILE
    partial = path.with_suffix(".partial")
    mine = Address(url=url, pid=os.getpid(), what=what, since=datetime.now(UTC))
    partial.write_text(mine.model_dump_json())
    partial.replace(path)
    try:
        yield
    finally:
        kept = read_address(data_dir)
        if kept is not None and kept.pid == mine.pid:
            path.unlink(missing_ok=True)


def read_address(data_dir: Path) -> Address | None:
    """The address that was left, whether or not anyone still answers there."""
    try:
        return Address.model_validate(json.loads((data_dir / FILE).read_text()))
    except (OSError, ValueError, ValidationError):
        return None


def find_running(data_dir: Path) -> Address | None:
    """The address of a process that answers there now. One that was killed leaves a file that nobody answers for."""
    address = read_address(data_dir)
    if address is None:
        return None
    try:
        httpx.get(f"{address.url}/livez", timeout=2.0)
    except httpx.HTTPError:
        return None
    return address
