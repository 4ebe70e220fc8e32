"""Threads that may hang: what they do like any executor's, and that they do not keep the process."""

import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from stores.threads import DaemonThreads

HANGING_FOLDER = """
import asyncio, sys, threading
from pathlib import Path
from stores.folder import FolderClock, FolderStore

async def main():
    hang = lambda folder: threading.Event().wait()
    async with FolderStore(Path(sys.argv[1]), max_bytes=1, clock=FolderClock(0), prune=hang) as store:
        try:
            async with asyncio.timeout(0.2):
                async for _ in store.list():
                    pass
        except TimeoutError:
            print("hangs")

asyncio.run(main())
"""
HANGING_BUCKET = """
import asyncio, threading
from stores.s3 import S3Store

class Client:
    def list_objects_v2(self, **_):
        return {"IsTruncated": False}
    def get_object(self, **_):
        threading.Event().wait()

async def main():
    async with S3Store("bucket", max_bytes=1, client=Client()) as store:
        try:
            async with asyncio.timeout(0.2):
                await store.look("a.jpg")
        except TimeoutError:
            print("hangs")

asyncio.run(main())
"""


@pytest.mark.parametrize("script", [HANGING_FOLDER, HANGING_BUCKET], ids=["folder", "bucket"])
def test_a_store_that_hangs_does_not_keep_the_process(script: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], timeout=30, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "hangs\n", "")


def test_as_many_calls_as_allowed_run_at_once_and_every_call_is_made() -> None:
    threads = DaemonThreads(3, "test")
    lock, together, most = threading.Lock(), [0], [0]
    three = threading.Barrier(3)

    def call(number: int) -> int:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        three.wait(10)
        with lock:
            together[0] -= 1
        return number

    assert list(threads.map(call, range(30), timeout=10)) == list(range(30))
    assert most == [3]
    threads.shutdown()


def test_calls_begin_in_order_and_a_thread_is_used_again() -> None:
    threads, order = DaemonThreads(1, "test"), list[int]()
    for number in range(100):
        threads.submit(order.append, number)
    assert len({threads.submit(threading.get_ident).result(10) for _ in range(10)}) == 1
    threads.shutdown()
    assert order == list(range(100))


def test_what_a_call_raises_is_raised_to_its_caller_and_the_thread_goes_on() -> None:
    threads = DaemonThreads(1, "test")
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(10)
    with pytest.raises(SystemExit):
        threads.submit(sys.exit).result(10)
    assert threads.submit(lambda: 1).result(10) == 1
    threads.shutdown()


def test_a_shutdown_cancels_what_has_not_begun_and_takes_nothing_more() -> None:
    threads = DaemonThreads(1, "test")
    began, let_go = threading.Event(), threading.Event()

    def hold() -> bool:
        began.set()
        return let_go.wait(10)

    first, second = threads.submit(hold), threads.submit(lambda: 2)
    assert began.wait(10)
    threads.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        second.result(10)
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(lambda: 3)
    let_go.set()
    assert first.result(10)
    threads.shutdown()


def test_a_thread_without_work_ends_by_itself_and_another_takes_the_next_call() -> None:
    threads = DaemonThreads(1, "test-idle", idle_seconds=0.01)
    for _ in range(3):
        ran_in = threads.submit(threading.current_thread).result(10)
        ran_in.join(10)
        assert not ran_in.is_alive()
    assert threads.submit(time.monotonic).result(10)
