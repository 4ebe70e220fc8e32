"""What both clients need to make a connection."""

from typing import TypedDict

import httpx

from sightline_client.errors import SightlineUnreachable
from sightline_client.requests import Call


class Arguments(TypedDict, total=False):
    """How httpx is asked."""

    params: httpx.QueryParams
    json: object
    files: dict[str, tuple[str, bytes, str]]


def headers_of(api_key: str | None) -> dict[str, str]:
    """The headers of every request. Raises `ValueError` for a key that no header can carry."""
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("the API key has characters that no key of Sightline has; was it copied whole and alone?")
    return {"Accept": "application/json", **({} if api_key is None else {"Authorization": f"Bearer {api_key}"})}


def arguments_of(call: Call) -> Arguments:
    """A call as httpx takes it."""
    arguments = Arguments()
    if call.params:
        arguments["params"] = httpx.QueryParams(
            {name: str(value).lower() if isinstance(value, bool) else value for name, value in call.params.items()}
        )
    if call.body is not None:
        arguments["json"] = call.body
    if call.files is not None:
        arguments["files"] = dict(call.files)
    return arguments


def unreachable(address: object, error: httpx.HTTPError) -> SightlineUnreachable:
    """The exception for a connection that did not come about or broke off."""
    return SightlineUnreachable(
        f"Sightline at {address} did not answer ({type(error).__name__}: {error}); is it running, and is that where?"
    )
