"""How a shard of Qdrant Edge is laid out, and how it is searched. Imported by the Edge process only.

Beside each vector lies its code of a byte a number (TurboQuant, Qdrant Edge 0.9), which the engine keeps as points come
and go. A search scans the codes, a quarter of the bytes, and scores the best candidates from their vectors: scores and
order are those of a scan of the vectors, as long as what belongs to the answer is among the candidates. Measured over
100,000 vectors of 256 numbers and 50,000 of 512, random ones and groups of 100 near copies: with these numbers every
answer for 53 to 10,000 results held the very same points, in 3 to 5 ms in place of 8 to 10 (docs/decisions/0032).
"""

import json
from pathlib import Path

import qdrant_edge as edge

NEVER = 1_000_000_000
"""Kilobytes that no segment reaches: no graphs, no splitting."""

CANDIDATES, OVERSAMPLING = 400, 2.0
"""At least so many candidates, and at least so many times the results, are scored from their vectors."""

EXACT = edge.SearchParams(quantization=edge.QuantizationSearchParams(ignore=True))
"""A search of the vectors themselves."""


def shard_config(dimension: int) -> edge.EdgeConfig:
    """One plain segment of vectors with their codes."""
    codes = edge.TurboQuantQuantizationConfig(bits=edge.TurboQuantBitSize.Bits8, always_ram=True)
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine, quantization_config=codes),
        # What is read for every result is brought into memory at the start: page by page it took 8 ms a search.
        payload_memory=edge.Memory.Cached,
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=NEVER, max_segment_size=NEVER),
        wal_enabled=True,
    )


def dimension_of(shard: Path) -> int:
    """The length of the vectors of the shard in a folder. Raises `OSError`, `ValueError`, `LookupError` for another."""
    return int(json.loads((shard / "edge_config.json").read_text("utf-8"))["vectors"][""]["size"])


def search_params(limit: int) -> edge.SearchParams:
    """Parameters of a search for so many points."""
    return edge.SearchParams(
        quantization=edge.QuantizationSearchParams(rescore=True, oversampling=max(OVERSAMPLING, CANDIDATES / limit))
    )
