"""Measurements that can be repeated: each prints ratios of what ran side by side on the same machine."""
