"""The photographs of a load run: drawn by code, each with bytes of its own, so that no vector is reused."""

import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from imaging.samples import photograph

SIZES = ((1200, 900), (900, 1200))
"""What a web page or a phone's messenger uploads; about 0.3 MB each."""


def draw_pictures(folder: Path, count: int, *, seed: int) -> list[Path]:
    """Draw `count` JPEGs into `folder` with all processors, about 50 ms each on one. Returns the paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder / f"{number:05d}.jpg", seed * 1_000_003 + number) for number in range(count)]
    # With the handler that ends a run in order, a worker would die holding a lock that the others wait for.
    with ProcessPoolExecutor(initializer=signal.signal, initargs=(signal.SIGTERM, signal.SIG_DFL)) as pool:
        list(pool.map(_draw, jobs, chunksize=16))
    return [path for path, _ in jobs]


def _draw(job: tuple[Path, int]) -> None:
    path, seed = job
    path.write_bytes(photograph(*SIZES[seed % len(SIZES)], seed))
