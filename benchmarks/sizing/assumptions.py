"""Every number that docs/scale.md is computed from, read from assumptions.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.load.record import Measured

PATH = Path(__file__).parent / "assumptions.toml"
HOURS_A_MONTH = 730.0
LEAST_PARTITIONS = 12
MOST_PARTITIONS = 1024
"""What SIGHTLINE_KAFKA__PARTITIONS allows."""


class Trust(StrEnum):
    """How far a number can be believed."""

    MEASURED = "measured here"
    PUBLISHED = "published"
    DERIVED = "derived, not measured"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Assumption:
    """One number. `source` names a command, a page of this repository, or a publication."""

    name: str
    value: float
    unit: str
    trust: Trust
    source: str


@dataclass(frozen=True)
class EmbedderKind:
    """A pod that embeds: `rate` images a second when it is full, `price` dollars an hour."""

    name: str
    model: str
    dimension: int
    rate: float
    price: float
    consumers: int
    trust: Trust
    source: str

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return f"{self.model} on {self.name}"


@dataclass(frozen=True)
class Assumptions:
    """All of them."""

    numbers: Mapping[str, Assumption]
    embedders: tuple[EmbedderKind, ...]

    def __getitem__(self, short: str) -> float:
        return self.numbers[short].value


def read_assumptions(measured: Measured, path: Path = PATH) -> Assumptions:
    """The file's numbers, those of `make load` filled in. Raises `KeyError` or `ValueError` for what makes no sense."""
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    kinds = tuple(EmbedderKind(**one | {"trust": Trust(one["trust"])}) for one in told.pop("embedders"))
    run = measured.model_dump()
    return Assumptions({short: _assumption(one, run) for short, one in told.items()}, kinds)


def _assumption(told: Mapping[str, Any], run: Mapping[str, Any]) -> Assumption:
    if ("value" in told) == ("measured" in told):
        raise ValueError(f"{told['name']}: give a value, or where it was measured")
    value = told.get("value")
    if value is None:
        value = _found(run, told["measured"]) * told.get("times", 1) - told.get("less", 0)
    return Assumption(told["name"], float(value), told.get("unit", ""), Trust(told["trust"]), told["source"])


def _found(run: Mapping[str, Any], place: str) -> float:
    there: Any = run
    for name in place.split("."):
        there = there[name]
    return float(there)
