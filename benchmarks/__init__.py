"""Measurements that can be repeated: each prints ratios of what ran side by side on the same machine."""

import encoders  # noqa: F401 - before torch, whose threads it tells how to wait
