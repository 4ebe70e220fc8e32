import asyncio

import pytest

from runtime import waiting
from runtime.waiting import Waiting


async def test_an_idle_time_is_told_as_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PIECE_SECONDS", 0.02)
    told: list[float] = []
    third = asyncio.Event()

    def tell(seconds: float) -> None:
        told.append(seconds)
        if len(told) == 3:
            third.set()

    consumer = Waiting(tell)
    consumer.begin()
    await asyncio.wait_for(third.wait(), 5)
    consumer.end()
    pieces = len(told)
    consumer.end()
    await asyncio.sleep(0.05)
    assert len(told) == pieces, "nothing is told once the wait is over"
    assert all(seconds >= 0.015 for seconds in told[:3])
