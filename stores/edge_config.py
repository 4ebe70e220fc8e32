"""How a shard of Qdrant Edge is laid out, and how it is searched. Imported by the Edge process only.

Beside each vector lies its code of a byte a number (TurboQuant, Qdrant Edge 0.9), which the engine keeps as points come
and go. A search scans the codes, a quarter of the bytes, scores the best candidates from their vectors, and is made
anew with the vectors where codes cannot tell who is among the best (see `stores.edge_queries`, docs/decisions/0032).
"""

import json
from pathlib import Path

import qdrant_edge as edge

NEVER = 1_000_000_000
"""Kilobytes that no segment reaches: no graphs, no splitting."""

CODES = edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=True, oversampling=1.0))
"""A search of the codes, whose answers are scored from the vectors."""

VECTORS = edge.SearchParams(quantization=edge.QuantizationSearchParams(ignore=True))
"""A search of the vectors themselves."""

_CODE_ERROR = 0.05


def code_error(dimension: int) -> float:
    """By how much the score of a code is off from the cosine at most.

    Measured with random vectors and groups of near copies, 8 to 1152 numbers: a standard deviation of 0.0079 /
    sqrt(dimension) at most, and never more than 0.042 / sqrt(dimension) among 80,000.
    """
    return float(_CODE_ERROR / dimension**0.5)


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
