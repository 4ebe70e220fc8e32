"""The command line and the composition: which stages, which transport, which stores."""

import runtime.sleeping_threads  # noqa: F401 - before numpy and torch
