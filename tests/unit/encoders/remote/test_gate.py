from datetime import UTC, datetime

import pytest

from encoders.remote.gate import FIRST, MOST, MOST_ASKED, MOST_LOADING, Gate, asked_to_wait, pause
from tests.unit.encoders.remote.service import FakeClock

NOW = datetime(2026, 3, 14, 15, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, None, 7),
        ({"retry-after": "0"}, None, 0),
        ({"retry-after": "99999999"}, None, MOST_ASKED),
        ({"retry-after": "Sat, 14 Mar 2026 15:00:30 GMT"}, None, 30),
        ({"retry-after": "Sat, 14 Mar 2026 14:00:00 GMT"}, None, 0),
        # Their clock is two hours ahead of ours: their own Date says how long it is.
        ({"retry-after": "Sat, 14 Mar 2026 17:00:30 GMT", "date": "Sat, 14 Mar 2026 17:00:20 GMT"}, None, 10),
        ({"retry-after": "soon"}, {"estimated_time": 20}, 20),
        ({"retry-after": "²"}, {"estimated_time": 20}, 20),
        ({"retry-after": "5"}, {"estimated_time": 20}, 5),
        ({}, {"error": "Model x is currently loading", "estimated_time": 20.5}, 20.5),
        ({}, {"estimated_time": 1809.18}, MOST_LOADING),
        ({}, {"estimated_time": "long"}, None),
        ({}, {"estimated_time": float("nan")}, None),
        ({}, ["no"], None),
        ({}, None, None),
    ],
)
def test_services_say_how_long_to_wait_in_three_ways(
    headers: dict[str, str], body: object, seconds: float | None
) -> None:
    assert asked_to_wait(headers, body, NOW) == seconds


def test_pauses_double_up_to_a_limit() -> None:
    for attempt in range(40):
        assert 0.8 * min(MOST, FIRST * 2 ** min(attempt, 16)) <= pause(attempt) <= MOST


def test_threads_that_meet_one_failure_close_the_gate_once() -> None:
    clock = FakeClock()
    gate = Gate(clock.clock())
    for _ in range(8):
        gate.close("away", None)
    assert gate.closed_for() <= FIRST
    clock.sleep(1)
    gate.close("away", None)
    assert FIRST < gate.closed_for() <= 2 * FIRST
    clock.sleep(60)
    gate.answered()
    gate.close("away", None)
    assert gate.closed_for() <= FIRST


def test_a_shorter_wait_does_not_open_what_a_longer_one_has_closed() -> None:
    gate = Gate(FakeClock().clock())
    gate.close("limit", 20)
    gate.close("other", 3)
    assert gate.closed_for() == pytest.approx(20)
