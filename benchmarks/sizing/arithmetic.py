"""From images a day to partitions, pods, network and dollars; from images in the index to nodes and memory."""

import math
from dataclasses import dataclass

from benchmarks.sizing.assumptions import (
    HOURS_A_MONTH,
    LEAST_PARTITIONS,
    MOST_PARTITIONS,
    Assumptions,
    EmbedderKind,
)

SECONDS_A_DAY = 86_400
DAYS_A_MONTH = HOURS_A_MONTH / 24


@dataclass(frozen=True)
class Flow:
    """What so many images a day ask for, besides embedders. Rates are those of the busiest minute."""

    mean: float
    peak: float
    ingest_pods: int
    indexer_pods: int
    brokers: int
    store_bytes: float
    kafka_bytes: float
    kafka_disk: float
    """Bytes of all copies."""
    month: float
    """Dollars, embedders and Qdrant not included."""


def flow(images_a_day: float, numbers: Assumptions, dimension: int) -> Flow:
    """Ingest, indexer, Kafka and the network. Pods of ingest and indexer have one processor."""
    mean = images_a_day / SECONDS_A_DAY
    peak = mean * numbers["peak"]
    record = numbers["notification"] + numbers["event"] + numbers["judgement"] + 4 * dimension
    ingest = _pods(peak * numbers["ingest"] / 1e3, numbers)
    indexer = _pods(peak * numbers["indexer"] / 1e3, numbers)
    brokers = max(3, math.ceil(peak * record * numbers["copies"] / (1e6 * numbers["broker"])))
    disk = images_a_day * record * numbers["kept"] * numbers["copies"] / numbers["load"]
    a_month = images_a_day * DAYS_A_MONTH
    # Two of three copies, and two of three reads and writes, are in another zone.
    crossing = a_month * record / 1e9 * (numbers["copies"] - 1 + 2 / 3 + 2 / 3)
    month = (
        (ingest + indexer + 4 * brokers) * numbers["processor"] * HOURS_A_MONTH
        + disk / 1e9 * numbers["gigabyte"]
        + a_month / 1e6 * numbers["get"]
        + crossing * numbers["zones"]
    )
    return Flow(mean, peak, ingest, indexer, brokers, peak * numbers["picture"], peak * record, disk, month)


@dataclass(frozen=True)
class Embedders:
    """How many pods of a kind, and what they cost."""

    kind: EmbedderKind
    pods: int
    partitions: int
    month_at_peak: float
    """Dollars if as many as the peak needs run all the time."""
    month_following: float
    """Dollars if their number follows the load."""

    @property
    def possible(self) -> bool:
        """Whether there can be so many partitions."""
        return self.partitions <= MOST_PARTITIONS


def embedders(images_a_day: float, numbers: Assumptions, kind: EmbedderKind) -> Embedders:
    """Enough for the busiest minute, and partitions for half as many again."""
    mean = images_a_day / SECONDS_A_DAY
    full = kind.rate * numbers["load"]
    pods = math.ceil(mean * numbers["peak"] / full)
    wanted = math.ceil(1.5 * pods * kind.consumers / LEAST_PARTITIONS) * LEAST_PARTITIONS
    following = max(1.0, mean / full)
    dollars = kind.price * HOURS_A_MONTH
    return Embedders(kind, pods, max(LEAST_PARTITIONS, wanted), pods * dollars, following * dollars)


@dataclass(frozen=True)
class Stock:
    """What so many images in the index ask of Qdrant. Bytes are of one copy."""

    memory: float
    disk: float
    node: float
    """GiB of memory of each node."""
    nodes: int
    month: float


NODES = (8.0, 16.0, 32.0, 64.0)
"""GiB of smaller nodes, each with a processor for four of them."""


def stock(images: float, numbers: Assumptions, dimension: int, *, quantised: bool) -> Stock:
    """Memory, disk, nodes for all copies, and dollars. Three nodes at least, so that one may fail, and small ones."""
    if quantised:
        vector = dimension / 2 + numbers["quantised"]
        on_disk = 4.5 * dimension
    else:
        vector = 4 * dimension * numbers["vector"]
        on_disk = 4 * dimension * numbers["vector"]
    memory = images * (vector + numbers["payload"])
    disk = images * (on_disk + numbers["disk"])
    needed = memory * numbers["replicas"] / (2**30 * numbers["usable"])
    node = next((size for size in NODES if needed <= 3 * size), numbers["node"])
    nodes = max(3, math.ceil(needed / node))
    price = nodes * node / 4 * numbers["processor"] * HOURS_A_MONTH
    stored = disk * numbers["replicas"] / numbers["usable"] / 1e9 * numbers["gigabyte"]
    return Stock(memory, disk, node, nodes, price + stored)


def nodes_for_writing(images_a_day: float, numbers: Assumptions) -> int:
    """Nodes of 8 processors that take what comes in the busiest minute; each copy is indexed by itself."""
    peak = images_a_day / SECONDS_A_DAY * numbers["peak"]
    return max(3, math.ceil(peak / (numbers["points"] * numbers["load"]) * numbers["replicas"]))


def _pods(cores: float, numbers: Assumptions) -> int:
    # Two, so that one may be replaced.
    return max(2, math.ceil(cores / numbers["load"]))
