"""A child process that runs `stores.edge_process`, and the questions and answers that go to and fro."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.edge_frames import CONFIGURATION, LENGTH, UNAVAILABLE, pack, unpack

DEPENDENCY = "edge"
PACKAGES = Path(__file__).resolve().parents[1]
"""Where `stores` is imported from, so that the child finds it whatever the working directory."""
PATIENCE_SECONDS = 20.0
"""A request that is not answered for so long is worth telling somebody; the slowest known, a flush, takes about 1 s."""
LEAVE_SECONDS = 60.0
"""How long a child may take to flush and close before it is killed; its log keeps what was answered."""


class EdgeChannel:
    """One child process and the socket to it. Never restarted: a dead channel is replaced by a new one.

    Questions may be asked concurrently; answers come in their order. A caller that is cancelled leaves its
    place in the line, so that the answers still reach whom they belong to.
    """

    def __init__(
        self, folder: Path, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._folder = folder
        self._process = process
        self._reader = reader
        self._writer = writer
        self._waiting: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._ended: DependencyUnavailable | None = None
        self._listening = asyncio.create_task(self._listen(), name=f"edge {folder.name}")

    @classmethod
    async def start(cls, folder: Path) -> "EdgeChannel":
        """Start the child. Raises `DependencyUnavailable` when the system refuses one."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "stores.edge_process", str(theirs.fileno()), str(os.getpid()),
                stdin=DEVNULL, stdout=DEVNULL, pass_fds=(theirs.fileno(),), cwd=PACKAGES,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise DependencyUnavailable(
                DEPENDENCY,
                f"no process could be started for the index in {folder}: {error}",
                "Look at the machine's limits on processes and memory",
            ) from error
        finally:
            theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return cls(folder, process, reader, writer)

    @property
    def ended(self) -> bool:
        """Whether the child is gone."""
        return self._ended is not None

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    async def ask(self, operation: str, *, patience: float | None = PATIENCE_SECONDS, **arguments: Any) -> Any:
        """The answer to one request.

        Raises `DependencyUnavailable` when the child or its disk fails or nothing comes within `patience`
        seconds (what was asked may still be done), `ConfigurationError` when it says that the index cannot
        be opened, `RuntimeError` for a bug.
        """
        if self._ended is not None:
            raise self._ended
        frame = pack({"op": operation, **arguments})
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        # No await between the two: the order of the line is the order of the requests.
        self._waiting.append(answered)
        self._writer.write(frame)
        try:
            async with asyncio.timeout(patience):
                answer = await answered
        except TimeoutError:
            raise DependencyUnavailable(
                DEPENDENCY,
                f"the process of the index in {self._folder} has not answered for {patience:g} s",
                "It may be busy or starved: look at the disk and at the machine's memory. It is asked again",
            ) from None
        if "ok" in answer:
            return answer["ok"]
        detail = answer["detail"]
        if answer["error"] == CONFIGURATION:
            raise ConfigurationError(detail)
        if answer["error"] == UNAVAILABLE:
            raise DependencyUnavailable(
                DEPENDENCY,
                f"the index in {self._folder} could not do its work: {detail}",
                "Look at the free space and the health of that disk",
            )
        raise RuntimeError(f"the Edge process of {self._folder} failed at {detail}")

    async def leave(self) -> None:
        """Let the child answer what was asked, flush, close and end; kill it when that takes too long."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()
        try:
            await asyncio.wait_for(self._process.wait(), LEAVE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        try:
            while True:
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                answer = unpack(await self._reader.readexactly(length))
                answered = self._waiting.popleft()
                if not answered.done():
                    answered.set_result(answer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the child is gone, or going
        finally:
            self._writer.close()
            self._end(await self._farewell())

    def _end(self, farewell: str) -> None:
        self._ended = DependencyUnavailable(
            DEPENDENCY,
            f"the process of the index in {self._folder} ended ({farewell})",
            "It is started again by the next call, and has kept whatever it answered; if it ends again and again, "
            "look at its last words on standard error, at memory and at the disk",
        )
        while self._waiting:
            answered = self._waiting.popleft()
            if not answered.done():
                answered.set_exception(self._ended)

    async def _farewell(self) -> str:
        code = await self._process.wait()
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"
