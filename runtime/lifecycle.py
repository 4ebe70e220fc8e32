"""From start to exit: signals, supervised tasks, an ordered drain with a deadline, exit codes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import IntEnum

from runtime.log import Log


class ExitCode(IntEnum):
    """What a process tells its supervisor."""

    CLEAN = 0
    FAILED = 1
    """A bug, a spent dead-letter budget, or a reconcile that disagrees: look at the log."""
    CONFIGURATION = 2
    """Starting again without changing something will not help. A dependency that is away ends no start of a service."""


@dataclass(frozen=True)
class Component:
    """A named task of the process. `run` returns soon after its event is set, and not before."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]


class ComponentEnded(RuntimeError):
    """A component returned although nobody asked it to stop."""


@contextmanager
def stop_on_signals(log: Log) -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets. Must be entered in the running loop's thread.

    The first signal asks for a drain; the handlers then step aside, so that a second one ends the
    process at once, as someone who presses Ctrl-C twice expects.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    wanted = (signal.SIGTERM, signal.SIGINT)

    def asked(number: signal.Signals) -> None:
        for one in wanted:
            loop.remove_signal_handler(one)
            signal.signal(one, lambda *_: os._exit(128 + number))
        log.info("stopping", f"{number.name}: finishing what is in hand; once more ends at once")
        stop.set()

    previous = {one: signal.getsignal(one) for one in wanted}
    for one in wanted:
        loop.add_signal_handler(one, asked, one)
    try:
        yield stop
    finally:
        for one in wanted:
            loop.remove_signal_handler(one)
            signal.signal(one, previous[one])


@asynccontextmanager
async def given_up_on(stop: asyncio.Event) -> AsyncIterator[None]:
    """Cancel what is done within as soon as `stop` is set, and go on after it: a start may wait for ever.

    Whether it was given up, `stop` tells, or what it has not made.
    """
    loop = asyncio.get_running_loop()
    patience = asyncio.timeout(None)
    watching = loop.create_task(stop.wait())

    def give_up(_: "asyncio.Task[bool]") -> None:
        patience.reschedule(loop.time())

    try:
        async with patience:
            watching.add_done_callback(give_up)
            try:
                yield
            finally:
                watching.remove_done_callback(give_up)
                watching.cancel()
    except TimeoutError:
        if not patience.expired():
            raise


async def run_components(
    groups: Sequence[Sequence[Component]], *, stop: asyncio.Event, drain_seconds: float, log: Log
) -> None:
    """Run all components until `stop`, then stop the groups one after the other, sources first.

    The order matters: a stage that stops before the one that feeds it would leave records behind.
    A component that fails stops everything, and its exception is raised. One that has not
    ended `drain_seconds` after the stop is cancelled: what it had in hand comes again.
    """
    events = [asyncio.Event() for _ in groups]
    running = [
        [asyncio.create_task(_supervise(one, event), name=one.name) for one in group]
        for group, event in zip(groups, events, strict=True)
    ]
    everything = [task for group in running for task in group]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, *everything}, return_when=asyncio.FIRST_COMPLETED)
        deadline = asyncio.get_running_loop().time() + drain_seconds
        for group, event in zip(running, events, strict=True):
            event.set()
            left = deadline - asyncio.get_running_loop().time()
            if group:
                _, late = await asyncio.wait(group, timeout=max(0.0, left))
                for task in late:
                    log.warning(
                        "drain_deadline",
                        f"{task.get_name()} did not end within {drain_seconds:g} s; what it had in hand comes again",
                    )
                    task.cancel()
    finally:
        stopping.cancel()
        for task in everything:
            task.cancel()
        results = await asyncio.gather(*everything, return_exceptions=True)
    for task, result in zip(everything, results, strict=True):
        if isinstance(result, Exception):
            log.error("component_failed", f"{task.get_name()} failed: {result}", component=task.get_name())
    failures = [result for result in results if isinstance(result, Exception)]
    if failures:
        raise _innermost(failures[0])


async def _supervise(component: Component, stop: asyncio.Event) -> None:
    await component.run(stop)
    if not stop.is_set():
        raise ComponentEnded(f"{component.name} ended by itself")


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
