"""What was loaded at the start is walked by no later collection, and what comes after is collected as ever."""

import gc
import weakref

from runtime.garbage import keep_what_is_loaded


class Knot:
    """Garbage that only a collection can find."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_loaded_is_left_alone_and_what_comes_later_is_not() -> None:
    loaded, tied = Knot(), Knot()
    before = weakref.ref(tied)
    del tied
    try:
        keep_what_is_loaded()
        assert before() is None, "what was garbage already is not kept for ever"
        assert all(one is not loaded for one in gc.get_objects())
        later = Knot()
        gone = weakref.ref(later)
        del later
        gc.collect()
        assert gone() is None
    finally:
        gc.unfreeze()
