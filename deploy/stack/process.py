"""Servers that outlive the command that started them, known by their pid files."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.errors import StackError


@dataclass(frozen=True)
class Process:
    """A running server: its pid, its pid file and its log."""

    name: str
    pid: int
    folder: Path

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / f"{self.name}.log"

    def alive(self) -> bool:
        """Whether it still runs."""
        return _command_of(self.pid) != ""

    def pause(self) -> None:
        """Freeze it, as a long collection of garbage or a lost network does."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self, *, patience: float = 15.0) -> None:
        """End it, by force after `patience` seconds; no error when it has ended already."""
        for number in (signal.SIGCONT, signal.SIGTERM):
            _signal(self.pid, number)
        if not _wait(lambda: not self.alive(), patience):
            _signal(self.pid, signal.SIGKILL)
            _wait(lambda: not self.alive(), 5.0)
        _pid_file(self.folder, self.name).unlink(missing_ok=True)


def spawn(name: str, command: list[str], folder: Path, **environment: str) -> Process:
    """Start a server in a session of its own, so that it survives the shell, and note its pid."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment},
        )
    _pid_file(folder, name).write_text(str(started.pid))
    return Process(name, started.pid, folder)


def find(name: str, folder: Path) -> Process | None:
    """The server that a pid file names, if it still runs and is no other program with the same pid."""
    try:
        pid = int(_pid_file(folder, name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return Process(name, pid, folder) if str(folder) in _command_of(pid) else None


def wait_until_listening(process: Process, port: int, *, patience: float = 60.0) -> None:
    """Return once the port answers. Raises `StackError` with the end of the log when it does not."""

    def settled() -> bool:
        return not process.alive() or listening(port)

    if not _wait(settled, patience) or not process.alive():
        tail = process.log.read_text(errors="replace")[-1500:]
        process.stop(patience=1.0)
        raise StackError(f"{process.name} did not come up on port {port}; {process.log} ends with: {tail}")


def listening(port: int) -> bool:
    """Whether something answers on a local port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port(preferred: int = 0) -> int:
    """The preferred port if nobody has it, else any free one."""
    # Not one that the system hands out by itself: whoever connects or listens somewhere in the seconds before the
    # server starts might be given the same.
    others = (random.randrange(*_PORTS) for _ in range(100))
    for port in (*([preferred] if preferred else []), *others, 0):
        with socket.socket() as probe:
            # A server that was just killed leaves its port lingering, which is no reason to move.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StackError("no free port on 127.0.0.1")


_PORTS = (15_000, 32_000)
"""Below those that Linux gives to outgoing connections and to listeners without a wish (ip_local_port_range)."""


def _wait(condition: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def _pid_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.pid"


def _command_of(pid: int) -> str:
    # Reaps the process first where it is our own child: a zombie still has a pid, but no command.
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    # Where COLUMNS is set, ps would cut the command, and with it the folder that tells our servers from others.
    asked = ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False)
    state, _, command = listed.stdout.strip().partition(" ")
    # While other threads of a killed process still end ("l"), they hold its ports.
    return "" if state.startswith("Z") and "l" not in state else command.strip()


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
