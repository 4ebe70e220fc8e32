"""`sightline keys`: API keys made, listed and revoked; a running process follows within a second or two."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from runtime.access.api_keys import ApiKey, keys_to_change, make_key, read_keys
from runtime.access.scopes import Scope
from runtime.lifecycle import ExitCode
from schemas.errors import ConfigurationError

_SPAN = re.compile(r"(\d{1,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def new_key(path: Path, name: str, scopes: str, expires: str | None) -> ExitCode:
    """Make a key and print it, this once. Raises `ConfigurationError`."""
    now = datetime.now(UTC)
    text, key = make_key(name, _scopes(scopes), expires=None if expires is None else _expiry(expires, now), now=now)
    with keys_to_change(path) as keys:
        if name in [one.name for one in keys]:
            raise ConfigurationError(
                f"{path} has a key {name}. Choose another name: both keys work until you revoke the old one"
            )
        keys.append(key)
    _console().print(
        f"The key {name} may {', '.join(sorted(key.scopes))}; it is in {path} as a hash. This is the only time that it "
        "is shown:"
    )
    print(text)
    return ExitCode.CLEAN


def list_keys(path: Path, *, as_json: bool) -> ExitCode:
    """Print what is known of each key. Raises `ConfigurationError`."""
    keys = _existing(path)
    now = datetime.now(UTC)
    if as_json:
        print(json.dumps([_facts(key, now) for key in keys]))
        return ExitCode.CLEAN
    if not keys:
        print(f"no API keys in {path}; `sightline keys new --name NAME --scope search` makes one")
        return ExitCode.CLEAN
    table = Table(box=None, pad_edge=False)
    for column in ("name", "scopes", "created", "expires"):
        table.add_column(column, overflow="fold")
    for key in keys:
        expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M} UTC"
        table.add_row(
            key.name,
            ", ".join(sorted(key.scopes)),
            f"{key.created:%Y-%m-%d}",
            f"{expires} (expired)" if key.expired(now) else expires,
        )
    Console(markup=False, highlight=False).print(table)
    return ExitCode.CLEAN


def revoke_key(path: Path, name: str) -> ExitCode:
    """Take a key away. Raises `ConfigurationError` where there is none of that name."""
    if name not in [one.name for one in _existing(path)]:
        raise ConfigurationError(f"{path} has no key {name}; `sightline keys list` shows those that exist")
    with keys_to_change(path) as keys:
        keys[:] = [key for key in keys if key.name != name]
    print(f"{name} is revoked; a running process refuses it within two seconds")
    return ExitCode.CLEAN


def _existing(path: Path) -> Sequence[ApiKey]:
    try:
        return read_keys(path)
    except FileNotFoundError:
        return ()


def _facts(key: ApiKey, now: datetime) -> dict[str, object]:
    return {
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created": key.created.isoformat(),
        "expires": None if key.expires is None else key.expires.isoformat(),
        "expired": key.expired(now),
    }


def _scopes(text: str) -> list[Scope]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(Scope)]
    if unknown or not names:
        raise ConfigurationError(
            f"--scope {text!r}: choose among {', '.join(Scope)}, several with commas, such as --scope search,embed"
        )
    return [Scope(name) for name in names]


def _expiry(text: str, now: datetime) -> datetime:
    span = _SPAN.fullmatch(text.strip().lower())
    try:
        expires = now + int(span[1]) * _UNITS[span[2]] if span else datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"--expires {text!r}: write a span such as 90d, 12h or 8w, or a time such as 2030-01-31 (UTC)"
        ) from None
    expires = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
    if expires <= now:
        raise ConfigurationError(f"--expires {text!r} has passed; such a key would never work")
    return expires


def _console() -> Console:
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
