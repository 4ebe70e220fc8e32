"""Token buckets and requests at a time, against what they promise."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.access.rates import UNLIMITED, Allowance, Buckets, InHand

steps = st.lists(st.floats(0, 5, allow_nan=False), max_size=200)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(steps, st.floats(0.1, 10), st.integers(1, 10))
def test_never_more_than_the_burst_and_what_time_has_added(pauses: list[float], per_second: float, burst: int) -> None:
    clock = Clock()
    buckets = Buckets(clock=clock)
    taken: list[float] = []
    for pause in pauses:
        clock.now += pause
        if buckets.take("a", Allowance(per_second, burst)) == 0:
            taken.append(clock.now)
    for first, since in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - since) * per_second + 1e-6


@given(steps, st.floats(0.1, 10), st.integers(1, 10))
def test_who_waits_as_long_as_told_is_let_through(pauses: list[float], per_second: float, burst: int) -> None:
    clock = Clock()
    buckets = Buckets(clock=clock)
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("a", Allowance(per_second, burst))
        if wait:
            assert wait <= 1 / per_second + 1e-6
            clock.now += wait + 1e-6
            assert buckets.take("a", Allowance(per_second, burst)) == 0


def test_one_callers_haste_is_not_anothers() -> None:
    buckets = Buckets(clock=Clock())
    once = Allowance(per_second=1, burst=1)
    assert buckets.take("a", once) == 0
    assert buckets.take("a", once) == 1
    assert buckets.take("b", once) == 0


def test_memory_is_bounded_and_who_asks_all_the_time_is_remembered() -> None:
    buckets = Buckets(most=100, clock=Clock())
    once = Allowance(per_second=1, burst=1)
    buckets.take("busy", once)
    for number in range(10_000):
        buckets.take(f"address {number}", once)
        assert buckets.take("busy", once) > 0
    assert len(buckets) == 100
    assert buckets.take("address 9999", once) > 0, "the latest are remembered"
    assert buckets.take("address 0", once) == 0, "the first are forgotten"


def test_without_a_limit_nothing_is_kept() -> None:
    buckets = Buckets(clock=Clock())
    in_hand = InHand()
    for _ in range(1000):
        assert buckets.take("a", UNLIMITED) == 0
        assert in_hand.enter("a", UNLIMITED)
    assert len(buckets) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=100), st.integers(1, 4))
def test_so_many_at_a_time_and_no_memory_of_those_who_left(moves: list[tuple[str, bool]], most: int) -> None:
    in_hand = InHand()
    inside = dict.fromkeys("abc", 0)
    for caller, enters in moves:
        if enters:
            entered = in_hand.enter(caller, Allowance(at_a_time=most))
            assert entered == (inside[caller] < most)
            inside[caller] += entered
        elif inside[caller]:
            in_hand.leave(caller)
            inside[caller] -= 1
        assert len(in_hand) == sum(count > 0 for count in inside.values())
