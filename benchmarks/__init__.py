"""Measurements that can be repeated: each prints ratios of what ran side by side on the same machine."""

import runtime.sleeping_threads  # noqa: F401 - before numpy and torch
