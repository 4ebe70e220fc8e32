"""How long `sightline reconcile` compares again, on numbers that a test makes up."""

import io
from collections.abc import Iterable, Iterator

from rich.console import Console

from cli.reconcile_on_kafka import until_settled
from services.ingest.drift import Report


class Comparisons:
    """Each finds as many missing as the next number says; the last number goes on for ever."""

    def __init__(self, missing: Iterable[int]) -> None:
        self._missing: Iterator[int] = iter(missing)
        self.made = 0

    async def __call__(self) -> Report:
        self.made += 1
        return Report("b", missing=next(self._missing))


def endless(*few: int) -> Iterator[int]:
    while True:
        yield from few


async def settled(missing: Iterable[int], *, patience: float = 60, deadline: float = 60) -> tuple[int, int]:
    """What the last comparison found, and how many there were."""
    compare = Comparisons(missing)
    report = await until_settled(
        compare, Console(file=io.StringIO()), expected=1, patience=patience, deadline=deadline, pause=0.001
    )
    return report.drift, compare.made


async def test_it_ends_as_soon_as_no_more_differ_than_the_guard_refused() -> None:
    assert await settled([9, 12, 4, 1]) == (1, 4)


async def test_drift_that_only_goes_up_and_down_is_given_up() -> None:
    drift, made = await settled(endless(5, 4, 6), patience=0.3)
    assert drift in (4, 5, 6)
    assert made > 2


async def test_there_is_an_end_even_while_it_falls() -> None:
    drift, made = await settled(range(10**9, 0, -1), deadline=0.3)
    assert drift > 1
    assert made > 1
