"""How many processors there are to divide work among."""

import os


def usable_processors() -> int:
    """Those that this process may run on; a quota of time, as a container may have, is not looked at."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
