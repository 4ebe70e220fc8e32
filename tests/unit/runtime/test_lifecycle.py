import asyncio
import os
import signal

import pytest

from runtime.lifecycle import Component, ComponentEnded, given_up_on, run_components, stop_on_signals
from runtime.log import Log

LOG = Log("test")


async def until_stopped(stop: asyncio.Event) -> None:
    await stop.wait()


async def test_groups_stop_in_order_each_after_the_one_before_has_ended() -> None:
    order: list[str] = []

    def component(name: str) -> Component:
        async def work(stop: asyncio.Event) -> None:
            await stop.wait()
            order.append(f"{name} asked")
            await asyncio.sleep(0.01)
            order.append(f"{name} ended")

        return Component(name, work)

    stop = asyncio.Event()
    stop.set()
    groups = [[component("feed")], [component("embedder")], [component("indexer")]]
    await run_components(groups, stop=stop, drain_seconds=5, log=LOG)
    assert order == [f"{name} {what}" for name in ("feed", "embedder", "indexer") for what in ("asked", "ended")]


async def test_a_component_that_fails_stops_the_others_and_is_raised() -> None:
    stopped = asyncio.Event()

    async def fails(stop: asyncio.Event) -> None:
        raise ExceptionGroup("lanes", [ZeroDivisionError("the bug")])

    async def other(stop: asyncio.Event) -> None:
        await stop.wait()
        stopped.set()

    with pytest.raises(ZeroDivisionError, match="the bug"):
        await run_components(
            [[Component("a", fails)], [Component("b", other)]], stop=asyncio.Event(), drain_seconds=5, log=LOG
        )
    assert stopped.is_set()


async def test_a_component_that_ends_by_itself_is_a_failure() -> None:
    async def ends(stop: asyncio.Event) -> None:
        return

    with pytest.raises(ComponentEnded, match="quitter"):
        await run_components([[Component("quitter", ends)]], stop=asyncio.Event(), drain_seconds=5, log=LOG)


async def test_one_that_does_not_end_within_the_deadline_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def stubborn(stop: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(
        run_components([[Component("stubborn", stubborn)]], stop=stop, drain_seconds=0.05, log=LOG), 5
    )
    assert cancelled.is_set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_for_a_stop_and_the_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals(LOG) as stop:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 5)
    assert signal.getsignal(number) is before


async def test_what_is_given_up_on_a_stop_is_cancelled_and_what_follows_goes_on() -> None:
    stop, reached = asyncio.Event(), []
    asyncio.get_running_loop().call_soon(stop.set)
    async with given_up_on(stop):
        reached.append("within")
        await asyncio.Event().wait()
        reached.append("behind")
    assert reached == ["within"]
    await asyncio.sleep(0)  # it is cancelled no more


async def test_what_is_done_before_a_stop_is_left_alone_and_its_own_timeouts_are_its_own() -> None:
    stop = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with given_up_on(stop):
            raise TimeoutError
    async with given_up_on(stop):
        stop.set()
    await asyncio.sleep(0.01)
