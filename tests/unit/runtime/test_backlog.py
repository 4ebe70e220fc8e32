import math

import pytest

from runtime.backlog import WINDOW_SECONDS, Backlog


def test_a_backlog_clears_by_what_is_done_less_what_arrives() -> None:
    backlog = Backlog()
    assert math.isnan(backlog.clears())
    backlog.look(0, came=1000, done=0)
    assert math.isnan(backlog.clears()), "no rate yet"
    backlog.look(10, came=1100, done=300)
    # 30 a second are done and 10 arrive: 20 a second off 800; with twice the embedders 50.
    assert backlog.clears() == pytest.approx(40)
    assert backlog.clears(faster=2) == pytest.approx(16)


def test_a_backlog_that_grows_never_clears_unless_more_embedders_make_it_shrink() -> None:
    backlog = Backlog()
    backlog.look(0, came=0, done=0)
    backlog.look(10, came=400, done=300)
    assert backlog.clears() == math.inf
    assert backlog.clears(faster=2) == pytest.approx(100 / 20)


def test_nothing_left_is_cleared_now() -> None:
    backlog = Backlog()
    backlog.look(0, came=5, done=5)
    backlog.look(10, came=9, done=9)
    assert backlog.clears() == 0


def test_only_the_last_minutes_count_and_nothing_before_a_rebalance() -> None:
    backlog = Backlog()
    backlog.look(0, came=1_000_000, done=0)
    for second in range(10, 1000, 10):
        backlog.look(second, came=1_000_000, done=10 * second)
    at = 990 + WINDOW_SECONDS
    backlog.look(at, came=1_000_000, done=9_900)
    assert backlog.clears() == math.inf, "it has stood still for the whole window"
    backlog.forget()
    assert math.isnan(backlog.clears())
