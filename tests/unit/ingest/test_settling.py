from hypothesis import given
from hypothesis import strategies as st

from services.ingest.settling import Settling

QUIET = 2.0
SPACING = 1.0


def _settling(most: int = 100) -> Settling:
    return Settling(quiet=QUIET, spacing=SPACING, most=most)


def test_a_single_change_is_hinted_at_once_and_once_more_when_it_is_quiet() -> None:
    settling = _settling()
    assert settling.changed("a", 0.0)
    assert settling.due(1.9) == {}
    assert settling.due(2.0) == {"a": True}
    assert settling.due(99.0) == {}
    assert len(settling) == 0


def test_the_final_hint_waits_for_the_last_change() -> None:
    settling = _settling()
    settling.changed("a", 0.0)
    assert not settling.changed("a", 0.5)
    assert settling.due(1.0) == {"a": False}
    assert settling.due(2.4) == {}
    assert settling.due(2.5) == {"a": True}


def test_what_was_forgotten_is_not_hinted_again() -> None:
    settling = _settling()
    settling.changed("a", 0.0)
    settling.forget("a")
    assert settling.due(10.0) == {}


def test_what_finds_no_room_is_hinted_at_once_and_said_to_be_lost() -> None:
    settling = _settling(most=1)
    settling.changed("a", 0.0)
    assert not settling.crowded
    assert settling.changed("b", 0.0)
    assert settling.crowded
    assert "b" not in settling


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.01, 3.0)), min_size=1, max_size=40),
)
def test_after_the_last_change_of_a_name_come_a_hint_within_the_spacing_and_a_final_one_when_quiet(
    changes: list[tuple[str, float]],
) -> None:
    settling = _settling()
    now = 0.0
    hints: dict[str, list[float]] = {name: [] for name in "abc"}
    finals: set[tuple[str, float]] = set()
    last: dict[str, float] = {}

    def tick(until: float) -> None:
        nonlocal now
        while (at := settling.next_at) is not None and at <= until:
            now = max(now, at)
            for name, final in settling.due(now).items():
                hints[name].append(now)
                if final:
                    finals.add((name, now))
        now = until

    for name, pause in changes:
        tick(now + pause)
        if settling.changed(name, now):
            hints[name].append(now)
        last[name] = now
    tick(now + 2 * QUIET)

    assert len(settling) == 0
    assert settling.next_at is None
    for name, changed in last.items():
        after = [at for at in hints[name] if at >= changed]
        assert after[0] <= changed + SPACING + 1e-9
        assert after[-1] >= changed + QUIET - 1e-9
        pairs = zip(hints[name], hints[name][1:], strict=False)
        gaps = [b - a for a, b in pairs if (name, a) not in finals]
        assert all(gap >= SPACING - 1e-9 for gap in gaps)
