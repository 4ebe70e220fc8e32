"""Importing this, before numpy and torch, lets the threads of their products sleep while they wait for one another.

By default they spin, and on a machine that also decodes, searches and serves they take the processors from those that
they wait for: see docs/decisions/0031. Whoever has set these variables otherwise knows why.
"""

import os

# OpenMP's, in torch. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# OpenBLAS, in numpy, knows no such policy; ours are products of a thousand vectors with one, not worth a second thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
