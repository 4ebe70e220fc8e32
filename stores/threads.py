"""Threads for calls that may hang: a mounted folder whose server is away, a store that sends a byte a minute.

`concurrent.futures.ThreadPoolExecutor` is not used for these because the interpreter joins its threads
at exit, whatever its `shutdown` was told, so that one call that hangs would keep the process for ever.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

IDLE_SECONDS = 10.0
"""A thread without work ends after this, so that an executor that nobody shuts down leaves nothing behind."""


class DaemonThreads(Executor):
    """An executor of at most `most` threads, which end with the process even in the middle of a call.

    Use it only for calls that may be cut off at any point: reads, not writes.
    """

    def __init__(self, most: int, name: str, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._most = most
        self._name = name
        self._idle_seconds = idle_seconds
        self._news = threading.Condition()
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._idle = 0
        self._ended = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a thread, in the order of submission. Raises `RuntimeError` after `shutdown`."""
        future: Future[T] = Future()
        with self._news:
            if self._ended:
                raise RuntimeError(f"the {self._name} threads were shut down")
            self._queue.append((future, partial(fn, *args, **kwargs)))
            self._news.notify()
            if len(self._queue) > self._idle and self._threads < self._most:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
                self._threads += 1
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. `wait` until all threads have ended; `cancel_futures` drops what has not begun."""
        with self._news:
            self._ended = True
            if cancel_futures:
                for future, _ in self._queue:
                    future.cancel()
            self._news.notify_all()
            if wait:
                self._news.wait_for(lambda: self._threads == 0)

    def _work(self) -> None:
        while True:
            with self._news:
                self._idle += 1
                self._news.wait_for(lambda: self._queue or self._ended, self._idle_seconds)
                self._idle -= 1
                if not self._queue:
                    self._threads -= 1
                    self._news.notify_all()
                    return
                call = self._queue.popleft()
            _make(*call)
            del call  # an idle thread holds on to no image


def _make(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
