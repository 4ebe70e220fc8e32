"""The process that holds a Qdrant Edge shard, and answers `stores.edge` over an inherited socket.

Edge holds Python's GIL in every call, so in the process that serves the event loop a write or a search would
stop everything else. Run as `python -m stores.edge_process FD PARENT`: the number of the socket, and the parent's
process id.

It lives exactly as long as its parent wants it: end of file on the socket, which kill -9 of the parent brings
too, makes it flush, close and end. SIGINT, SIGTERM and SIGHUP reach whole process groups, and are ignored: the
parent drains first. Where something else keeps the parent's end of the socket open (a fork of it), the change of
the parent's process id tells.
"""

import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stores.edge_collection import EdgeCollection
from stores.edge_frames import BUG, CONFIGURATION, UNAVAILABLE, Frames, pack
from stores.edge_lock import CannotOpen

RECEIVE_BYTES = 1024 * 1024
QUIET_SECONDS = 0.3
"""Without a request for so long, the moment is used for flushing."""
WATCH_SECONDS = 1.0
"""How often the parent's process id is looked at while nothing else happens."""


class EdgeProcess:
    """Reads requests, answers them in their order, and flushes in between."""

    def __init__(self, channel: socket.socket, parent: int) -> None:
        self._channel = channel
        self._parent = parent
        self._frames = Frames()
        self._collection: EdgeCollection | None = None

    def run(self) -> None:
        """Until the parent closes its end or dies; then flush and close."""
        try:
            while self._serve():
                pass
        except OSError as error:
            if not isinstance(error, BrokenPipeError | ConnectionResetError):
                raise
        finally:
            if self._collection is not None:
                self._collection.close()

    def _serve(self) -> bool:
        collection = self._collection
        unflushed = collection is not None and collection.unflushed > 0
        if not self._readable(QUIET_SECONDS if unflushed else WATCH_SECONDS):
            if os.getppid() != self._parent:
                return False
            if collection is not None and unflushed:
                collection.flush()
            return True
        data = self._channel.recv(RECEIVE_BYTES)
        for request in self._frames.feed(data):
            self._channel.sendall(pack(self._answer(request)))
        return bool(data)

    def _readable(self, seconds: float) -> bool:
        return bool(select.select([self._channel], [], [], seconds)[0])

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = request.pop("op")
        try:
            if operation == "open":
                return {"ok": self._open(**request)}
            return {"ok": getattr(self._collection, operation)(**request)}
        except CannotOpen as error:
            return {"error": CONFIGURATION, "detail": str(error)}
        except Exception as error:
            # Edge raises plain exceptions whose texts begin with the kind; "service" is disk and engine.
            away = isinstance(error, OSError) or str(error).startswith("Service runtime error")
            detail = str(error) if away else traceback.format_exc(limit=-3)
            return {"error": UNAVAILABLE if away else BUG, "detail": f"{operation}: {detail}"}

    def _open(self, folder: str, indexes: dict[str, str], lock_wait: float) -> dict[str, Any]:
        collection = EdgeCollection(Path(folder), indexes)
        collection.lock(lock_wait, given_up=self._parent_left, owner=self._parent)
        self._collection = collection
        return collection.open()

    def _parent_left(self) -> bool:
        # The parent sends nothing while it waits for `open`: whatever is readable is the end of the file.
        return self._readable(0) and not self._channel.recv(1, socket.MSG_PEEK)


def main(arguments: Sequence[str]) -> None:
    """Serve the socket with the first number for the parent with the second."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    descriptor, parent = map(int, arguments)
    with socket.socket(fileno=descriptor) as channel:
        EdgeProcess(channel, parent).run()


if __name__ == "__main__":
    main(sys.argv[1:])
