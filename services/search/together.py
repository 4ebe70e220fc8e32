"""Work that goes on side by side and ends together: with the first error of it, or with the request it is for."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

A = TypeVar("A")
B = TypeVar("B")


@contextmanager
def first_error() -> Iterator[None]:
    """Around a `TaskGroup`: raises the first error of its tasks itself, as if they were called one by one."""
    try:
        yield
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """The results of two; when one raises, the other is cancelled, and what was raised is raised."""
    with first_error():
        async with asyncio.TaskGroup() as group:
            tasks = group.create_task(one), group.create_task(other)
    return tasks[0].result(), tasks[1].result()


async def in_order(*work: Coroutine[Any, Any, A]) -> list[A]:
    """The results of several, in order. Of several errors the first in this order is raised, as soon as all before it
    are done, and whatever still goes on is cancelled.
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        results = []
        for task in tasks:
            # To await the task itself would pass a cancellation on to it alone, and let the next in line begin.
            await asyncio.wait((task,))
            results.append(task.result())
        return results
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def while_connected(request: Request, work: Coroutine[Any, Any, A]) -> A:
    """The result of work, for a request whose body is read. Cancels it and raises `ClientDisconnect` when the client
    hangs up.
    """
    working, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
