"""The page of panels: what Prometheus saw of a load run, in the order in which images flow.

`python -m benchmarks.load.panels` draws the stored run again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.load.record import Measured, Series, read_measured

PATH = Path(__file__).parent.parent.parent / "docs" / "images" / "load.webp"

INK, FAINT, PAPER = "#1f2933", "#8a95a1", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE, RED, SAND, GREY, SKY = (
    "#3465a4", "#e07b39", "#2e8b6f", "#7b5ea7", "#c0392b", "#d9b44a", "#9aa5b1", "#7fb2d9",
)  # fmt: skip
STAGES = {"ingest": BLUE, "embedder": ORANGE, "indexer": GREEN}
TOPICS = {"bucket-notifications": BLUE, "image-events": ORANGE, "image-embeddings": GREEN}
PROCESSES = {
    "embedder": ORANGE,
    "clients": GREY,
    "Kafka": PURPLE,
    "S3 server": SKY,
    "ingest": BLUE,
    "indexer and search": GREEN,
    "Prometheus": SAND,
    "others": "#d3d9df",
}
PHASES = {"process": ORANGE, "publish": BLUE, "commit": PURPLE, "forward": RED, "starved": SAND, "idle": "#e4e7eb"}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": "#c5ccd3",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#eceff2",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def draw(measured: Measured, path: Path = PATH) -> None:
    """Write the page as WebP (or what the suffix says)."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 15.4), dpi=110, facecolor=PAPER)
        FigureCanvasAgg(figure)
        grid = figure.subplots(
            4,
            2,
            gridspec_kw={"hspace": 0.56, "wspace": 0.17, "left": 0.112, "right": 0.97, "top": 0.885, "bottom": 0.04},
        )
        _head(figure, measured)
        panels: Sequence[Callable[[Axes, Measured], None]] = (
            _uploads, _lag, _throughput, _freshness, _phases, _cpu, _memory, _failures,
        )  # fmt: skip
        for axes, panel in zip(grid.flat, panels, strict=True):
            panel(axes, measured)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, pil_kwargs={"lossless": True} if path.suffix == ".webp" else None)


def _head(figure: Figure, measured: Measured) -> None:
    machine, setup, run = measured.machine, measured.setup, measured.run
    figure.text(0.112, 0.975, f"{run.images:,} photographs through three processes", fontsize=19, weight="bold")
    figure.text(
        0.112,
        0.951,
        f"{machine.processor}, {machine.cores} processors, {machine.memory_gb:.0f} GB, no GPU; model {setup.model}; "
        f"real Kafka, S3 server, Qdrant Edge and clients on the same machine; {machine.date}\n"
        "Everything shown was asked of Prometheus, which scraped every process once a second; rates are over 4 s",
        fontsize=9.5,
        color=FAINT,
        va="center",
        linespacing=1.5,
    )


def _timed(axes: Axes, measured: Measured, title: str, about: str) -> None:
    """A panel over time, with the parts of the run behind it."""
    _titled(axes, title, about)
    run = measured.run
    parts = [(0.0, run.burst_at, f"{measured.setup.steady_rate:g} a second"),
             (run.burst_at, max(run.uploaded), "burst"),
             (max(run.uploaded), run.drained_at, "drain")]  # fmt: skip
    for number, (begin, end, name) in enumerate(parts):
        axes.axvspan(begin, end, color=("#f7f8fa", "#fdf1e7", "#eef6f2")[number], zorder=0)
        axes.text((begin + end) / 2, 1.005, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                  fontsize=8, color=FAINT)  # fmt: skip
    axes.set_xlim(0, max(series.times[-1] for series in measured.panels["uploads"]))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds", fontsize=8.5, loc="right", labelpad=1)


def _titled(axes: Axes, title: str, about: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, weight="bold", pad=31)
    axes.text(0, 1.075, about, transform=axes.transAxes, fontsize=8.8, color=FAINT, va="bottom")


def _lines(axes: Axes, series: Iterable[Series], colours: Mapping[str, str]) -> None:
    named = {one.label: one for one in series}
    for name, colour in colours.items():
        if name in named:
            axes.plot(named[name].times, named[name].values, color=colour, linewidth=1.8, label=name)
    axes.legend(frameon=False, fontsize=8.8, loc="upper left", handlelength=1.2, borderaxespad=0.2)


def _uploads(axes: Axes, measured: Measured) -> None:
    [series] = measured.panels["uploads"]
    axes.fill_between(series.times, series.values, color=GREY, alpha=0.35, linewidth=0)
    axes.plot(series.times, series.values, color=INK, linewidth=1.5)
    megabytes = measured.setup.picture_bytes / 1e6
    _timed(
        axes, measured, "1  Uploads", f"acknowledged a second; JPEG of 1200 x 900, {megabytes:.2f} MB each, "
        f"{measured.setup.clients} clients",
    )  # fmt: skip


def _lag(axes: Axes, measured: Measured) -> None:
    _lines(axes, measured.panels["lag"], TOPICS)
    _timed(axes, measured, "2  Waiting in Kafka", "records that the topic's readers have not committed")


def _throughput(axes: Axes, measured: Measured) -> None:
    _lines(axes, measured.panels["throughput"], STAGES)
    _timed(axes, measured, "3  Done by each stage", "records a second")


def _freshness(axes: Axes, measured: Measured) -> None:
    run = measured.run
    ages = [done - born for born, done in zip(run.uploaded, run.indexed, strict=True)]
    axes.scatter(
        run.indexed, ages, s=3, color=GREY, alpha=0.5, linewidths=0, label="each image, by the index's own times"
    )
    _lines(axes, measured.panels["freshness"], {"p50": BLUE, "p99": RED})
    _timed(
        axes, measured, "4  Freshness", "seconds from the store's event, in whole seconds, to the answer of the index"
    )
    axes.set_ylim(0, 1.12 * max(max(ages), *(max(series.values) for series in measured.panels["freshness"])))


def _phases(axes: Axes, measured: Measured) -> None:
    total: dict[str, dict[str, float]] = {}
    for series in measured.panels["phases"]:
        stage, _, phase = series.label.rpartition(" ")
        # Phases within `process` are told apart by the model's thread.
        if stage and (stage == "model" or phase in ("process", "publish", "commit")):
            total.setdefault(stage, {})[phase] = sum(series.values)
    model = total.setdefault("model's thread", {}) | total.pop("model", {})
    total["model's thread"] = model
    model["idle"] = max(0.0, measured.run.drained_at - sum(model.values()))
    rows = [name for name in ("indexer", "model's thread", "embedder", "ingest") if name in total]
    for at, name in enumerate(rows):
        left, whole = 0.0, sum(total[name].values())
        for phase, colour in PHASES.items():
            share = total[name].get(phase, 0.0) / whole
            axes.barh(at, share, left=left, color=colour, height=0.62, label=phase)
            if share > 0.07:
                axes.text(left + share / 2, at, f"{share:.0%}", ha="center", va="center", fontsize=8.8,
                          color=INK if phase in ("idle", "starved") else PAPER)  # fmt: skip
            left += share
    handles, labels = axes.get_legend_handles_labels()
    first = dict(zip(reversed(labels), reversed(handles), strict=True))
    axes.legend([first[phase] for phase in PHASES], list(PHASES), frameon=False, fontsize=8.8, ncols=len(PHASES),
                loc="upper left", bbox_to_anchor=(-0.01, 1.1), handlelength=0.9, columnspacing=1.1)  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(length=0)
    _titled(axes, "5  Where the time goes", "share of each stage's batches; of the model's thread, the whole run")


def _cpu(axes: Axes, measured: Measured) -> None:
    named = {series.label: series for series in measured.panels["cpu"]}
    order = [name for name in PROCESSES if name in named]
    shortest = min(len(named[name].values) for name in order)
    axes.stackplot(
        named[order[0]].times[:shortest],
        [named[name].values[:shortest] for name in order],
        colors=[PROCESSES[name] for name in order],
        labels=order,
        linewidth=0,
    )
    _timed(axes, measured, "6  Processors in use", f"by process; the machine has {measured.machine.cores}")
    axes.axhline(measured.machine.cores, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(0, measured.machine.cores * 1.45)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8.2, loc="upper left", ncols=4, handlelength=0.9,
                borderaxespad=0.1, labelspacing=0.25)  # fmt: skip


def _memory(axes: Axes, measured: Measured) -> None:
    most = {series.label: max(series.values) / 1e6 for series in measured.panels["memory"]}
    order = sorted((name for name in PROCESSES if name in most), key=most.__getitem__)
    axes.barh(order, [most[name] for name in order], color=[PROCESSES[name] for name in order], height=0.62)
    for at, name in enumerate(order):
        axes.text(most[name] + 15, at, f"{most[name]:,.0f}", va="center", fontsize=8.8)
    axes.set_xlim(0, max(most.values()) * 1.12)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines[["bottom"]].set_visible(False)
    axes.tick_params(length=0)
    _titled(axes, "7  Memory", "resident MB, at most; search loads the model too, and Qdrant Edge is counted with it")


def _failures(axes: Axes, measured: Measured) -> None:
    counts: dict[str, float] = {}
    for series in measured.panels["failures"]:
        grown = max(series.values, default=0.0) - (series.values[0] if series.values else 0.0)
        counts[series.label] = counts.get(series.label, 0.0) + grown
    run = measured.run
    lost = len(run.uploaded) - len(run.indexed) + run.images - len(run.uploaded)
    rows = [("uploaded", f"{run.images:,}", INK), ("indexed, with the store's ETag", f"{len(run.indexed):,}", INK),
            ("asked for with their own picture, and found", f"{run.searched:,}", INK),
            ("lost", f"{lost}", RED if lost else GREEN)]  # fmt: skip
    rows += [(name, f"{count:.0f}", RED if count else GREEN) for name, count in counts.items()]
    for at, (name, count, colour) in enumerate(rows):
        y = 0.94 - at * 0.1
        axes.text(0.0, y, name, transform=axes.transAxes, va="center")
        axes.text(0.72, y, count, transform=axes.transAxes, va="center", ha="right", weight="bold", color=colour)
    axes.axis("off")
    _titled(axes, "8  What failed", "counted in the run; bucket and index compared at its end, key by key")


if __name__ == "__main__":
    draw(read_measured())
