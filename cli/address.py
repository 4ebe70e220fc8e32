"""Where a running Sightline can be asked: a small file in the data folder, removed at exit."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
from pydantic import AwareDatetime, BaseModel, ValidationError

from runtime.settings import Settings
from schemas.errors import ConfigurationError

FILE = "address.json"
INSTANCE_HEADER = "sightline-instance"
"""Every answer carries it. A port may be taken by another process, or another data folder's, after a kill -9."""


class Address(BaseModel):
    """Who serves this data folder."""

    url: str
    pid: int
    what: str
    since: AwareDatetime
    instance: str


@contextmanager
def leave_address(data_dir: Path, url: str, what: str, instance: str) -> Iterator[None]:
    """Leave the address for the other commands, and take it away at the end if it is still ours."""
    path = data_dir / FILE
    partial = path.with_suffix(".partial")
    mine = Address(url=url, pid=os.getpid(), what=what, since=datetime.now(UTC), instance=instance)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        partial.write_text(mine.model_dump_json())
        partial.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{data_dir} cannot be written ({error}); choose another with --data-dir") from error
    try:
        yield
    finally:
        kept = read_address(data_dir)
        if kept is not None and kept.instance == instance:
            path.unlink(missing_ok=True)


def read_address(data_dir: Path) -> Address | None:
    """The address that was left, whether or not anyone still answers there."""
    try:
        return Address.model_validate(json.loads((data_dir / FILE).read_text()))
    except (OSError, ValueError, ValidationError):
        return None


def find_running(data_dir: Path) -> Address | None:
    """The address of the process that left it, if that very process answers there now."""
    address = read_address(data_dir)
    if address is None:
        return None
    try:
        # A proxy of the environment is for other machines.
        answer = httpx.get(f"{address.url}/livez", timeout=2.0, trust_env=False)
    except httpx.HTTPError:
        return None
    return address if answer.headers.get(INSTANCE_HEADER) == address.instance else None


def key_headers(settings: Settings) -> dict[str, str]:
    """What a command sends to a running process: the API key of SIGHTLINE_API_KEY, if there is one.

    Raises `ConfigurationError` for one that no header can carry.
    """
    key = settings.api_key.get_secret_value().strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError(
            "SIGHTLINE_API_KEY has characters that no key has; set it to a key as `sightline keys create` printed it"
        )
    return {"X-Api-Key": key} if key else {}


def refuse_if_running(data_dir: Path) -> None:
    """Raise `ConfigurationError` when another process serves this data folder."""
    running = find_running(data_dir)
    if running is not None:
        raise ConfigurationError(
            f"{data_dir} is in use by `sightline {running.what}` (process {running.pid}, {running.url}), "
            "which keeps it up to date by itself. Stop it first, or choose another data folder with --data-dir"
        )
