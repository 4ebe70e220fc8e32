"""Models behind one protocol. torch and open_clip live here only."""

import os

# OpenMP's threads spin while they wait for one another. On a machine that is also decoding, searching and serving, they
# take the processors from whom they wait for: measured, 40 times as long a pass (docs/decisions/0031). It is read when
# torch is imported, and whoever sets it otherwise knows why.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
