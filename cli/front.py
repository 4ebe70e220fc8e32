"""The HTTP side of a process: answers from the first moment, with the whole API once everything is loaded."""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cli.address import INSTANCE_HEADER
from runtime.http import AsgiApp


class Front:
    """An ASGI app that hands requests to another one, which may be replaced while it serves.

    Probes must be answered while a model loads, which takes minutes for the large ones.
    """

    def __init__(self, app: AsgiApp) -> None:
        self.app = app
        self.instance = secrets.token_hex(8)
        """Told by every answer, so that nobody mistakes another process for this one."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer by the app of this moment."""

        async def signed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                mine = (INSTANCE_HEADER.encode(), self.instance.encode())
                message = {**message, "headers": [*message.get("headers", ()), mine]}
            await send(message)

        await self.app(scope, receive, signed)
