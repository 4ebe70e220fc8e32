"""A thread for a load that may be given up: an executor's thread is waited for at the end of the process."""

import threading
from collections.abc import Callable
from concurrent.futures import Future


def in_daemon_thread(work: Callable[[], None]) -> "Future[None]":
    """What becomes of `work`, in a thread that ends with the process even in the middle of it."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future
