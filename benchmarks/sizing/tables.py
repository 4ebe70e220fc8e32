"""The tables of docs/scale.md."""

from collections.abc import Callable
from functools import cache

from benchmarks.blocks import table
from benchmarks.load.record import Measured, read_measured
from benchmarks.simulation.scenarios import OBJECTIVE, Outcome, play
from benchmarks.sizing.arithmetic import DAYS_A_MONTH, embedders, flow, nodes_for_writing, stock
from benchmarks.sizing.assumptions import Assumptions, read_assumptions
from benchmarks.sizing.fleets import SCENARIOS, fleets

SIZES = {"1 M": 1e6, "100 M": 1e8, "1 B": 1e9}


@cache
def _measured() -> Measured:
    return read_measured()


@cache
def _assumptions() -> Assumptions:
    return read_assumptions(_measured())


def assumed() -> str:
    """Every assumption."""
    told = _assumptions()
    rows = [
        [one.name, f"{_number(one.value)} {one.unit}".strip(), one.trust.value, one.source]
        for one in told.numbers.values()
    ]
    rows += [
        [kind.title, f"{_number(kind.rate)} images a second, ${kind.price:.2f} an hour", kind.trust.value, kind.source]
        for kind in told.embedders
    ]
    return table(["what", "number", "how sure", "from where"], rows, numbers_from=9)


def flows() -> str:
    """Images a day: everything but embedders and Qdrant."""
    rows = []
    for name, images in SIZES.items():
        one = flow(images, _assumptions(), 768)
        pods = [f"{one.mean:,.0f}", f"{one.peak:,.0f}", f"{one.ingest_pods}", f"{one.indexer_pods}", f"{one.brokers}"]
        network = [f"{_bytes(one.store_bytes)}/s", f"{_bytes(one.kafka_bytes)}/s", _bytes(one.kafka_disk)]
        rows.append([name, *pods, *network, f"${one.month:,.0f}", _a_million(one.month, images)])
    head = ["images a day", "mean a second", "peak a second", "ingest pods", "indexer pods", "brokers",
            "from the store, peak", "into Kafka, peak", "Kafka's disks", "a month", "a million images"]  # fmt: skip
    return table(head, rows)


def embedding() -> str:
    """Images a day: embedders of each kind."""
    rows = []
    for kind in _assumptions().embedders:
        for name, images in SIZES.items():
            one = embedders(images, _assumptions(), kind)
            partitions = f"{one.partitions:,}" if one.possible else f"{one.partitions:,}: too many"
            dollars = [f"${one.month_at_peak:,.0f}", f"${one.month_following:,.0f}"]
            rows.append(
                [kind.title, name, f"{one.pods:,}", partitions, *dollars, _a_million(one.month_following, images)]
            )
    head = ["embedder", "images a day", "pods at the peak", "partitions", "a month, all the time",
            "a month, following the load", "a million images"]  # fmt: skip
    return table(head, rows, numbers_from=2)


def stocks() -> str:
    """Images in the index."""
    rows = []
    for name, images in SIZES.items():
        for dimension in (512, 768):
            for quantised in (False, True):
                one = stock(images, _assumptions(), dimension, quantised=quantised)
                how = "4 bits" if quantised else "float32"
                sizes = [
                    _bytes(one.memory),
                    _bytes(one.disk),
                    f"{one.nodes} of {one.node:.0f} GiB",
                    f"${one.month:,.0f}",
                ]
                rows.append([name, how, f"{dimension}", *sizes])
    head = ["images in the index", "vectors in memory", "dimension", "memory, one copy", "disk, one copy",
            "nodes", "a month"]  # fmt: skip
    return table(head, rows, numbers_from=2)


def writing() -> str:
    """Qdrant nodes that the writes alone ask for."""
    rows = [[name, f"{nodes_for_writing(images, _assumptions())}"] for name, images in SIZES.items()]
    return table(["images a day", "nodes of 8 processors for the writes alone"], rows)


def scenarios() -> str:
    """What the simulation says of each fleet in each scenario."""
    rows = [
        [fleet.name, scenario.name, *_told(play(fleet, scenario, _measured()))]
        for fleet in fleets(_assumptions().embedders)
        for scenario in SCENARIOS
    ]
    head = ["fleet", "what happens", "most embedders", "most waiting", "cleared after", "p50", "p99",
            f"later than {OBJECTIVE:g} s", "rebalances", "paused"]  # fmt: skip
    return table(head, rows, numbers_from=2)


BLOCKS: dict[str, Callable[[], str]] = {
    "assumptions": assumed,
    "flow": flows,
    "embedders": embedding,
    "stock": stocks,
    "writing": writing,
    "scenarios": scenarios,
}


def _a_million(month: float, images_a_day: float) -> str:
    return f"${month / (images_a_day * DAYS_A_MONTH / 1e6):,.2f}"


def _told(outcome: Outcome) -> list[str]:
    return [
        f"{outcome.most_pods}",
        f"{outcome.most_lag:,}",
        _seconds(outcome.cleared) if outcome.cleared >= 0 else "not within the hour",
        _seconds(outcome.p50),
        _seconds(outcome.p99),
        f"{outcome.late:.1%}",
        f"{outcome.rebalances}",
        _seconds(outcome.paused),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _seconds(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} PB"
