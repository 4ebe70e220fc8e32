"""What a load run leaves behind: one JSON file, from which the picture, the tables and the simulation are made."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict

PATH = Path(__file__).parent / "measured.json"


class Model(BaseModel):
    """Frozen, and strict about names, so that an old file says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(Model):
    """Where it ran, and with what."""

    date: str
    processor: str
    cores: int
    memory_gb: float
    versions: dict[str, str]


class Setup(Model):
    """The settings that decide how fast it can be."""

    model: str
    partitions: int
    consumers: int
    batch_records: int
    forward_images: int
    clients: int
    steady_rate: float
    picture_bytes: float


class Calibration(Model):
    """Rates measured before the run, with other pictures. Processor time in core-seconds."""

    images: int
    idle_cores: dict[str, float]
    """What each process uses while nothing happens."""
    lone_seconds: dict[str, list[float]]
    """How long each lone image was in each stage, one after the other."""
    lone_cpu: dict[str, float]
    """What a lone image costs each process, from the upload to the index."""
    upload_cpu: dict[str, float]
    """What an upload costs each process, with the embedder frozen."""
    drain_cpu: dict[str, float]
    """What an image costs each process from there to the index, with no uploads."""
    drain_rate: float
    """Images a second in that drain."""
    drain_cores: float
    """Processors in use then."""
    lone_phases: dict[str, float]
    """Mean seconds of a lone image's batch, by `stage phase`."""
    drain_phases: dict[str, float]
    """Mean seconds of a batch in the drain, by `stage phase`."""
    start_seconds: dict[str, float]
    """From a process's start to its readiness."""


class Series(Model):
    """One line of a panel: Unix times less the run's beginning, and values."""

    label: str
    times: list[float]
    values: list[float]


class Run(Model):
    """The run itself. Times are seconds since its beginning."""

    images: int
    steady_images: int
    burst_at: float
    uploaded: list[float]
    """When each upload was acknowledged."""
    indexed: list[float]
    """When each of the same images was written to the index."""
    lag_looks: list[tuple[float, int]]
    """Records that waited for the embedder, as the run itself asked Kafka."""
    others_cores: float
    """Processors that something else used from the first upload to the last image indexed."""
    others_by_second: list[float]
    """The same, for each second of the run."""
    drained_at: float
    steady_cpu: float
    """Core-seconds of everything that the run started, until `burst_at`, without what it uses idle."""
    burst_cpu: float
    """The same from there to `drained_at`."""
    full_cores: float
    """Processors in use, by others too, while the burst is uploaded and all stages work: so much of it can be used."""
    searched: int
    start_lag: float
    problems: list[str]
    topic_bytes: dict[str, float]
    """Bytes of a record in Kafka's log, by topic."""
    index_bytes: float
    """Bytes of an image in the index on disk."""


class Measured(Model):
    """Everything."""

    machine: Machine
    setup: Setup
    calibration: Calibration
    run: Run
    panels: dict[str, list[Series]]

    def write(self, path: Path = PATH) -> None:
        """As JSON that a person can compare with that of another run: a line for each list of numbers."""
        text = self.model_dump_json(indent=1)
        lines = re.sub(r"\[[-\d.,eE\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)
        path.write_text(lines + "\n", encoding="utf-8")


def read_measured(path: Path = PATH) -> Measured:
    """The last run. Raises pydantic's `ValidationError` when the file is of another form."""
    return Measured.model_validate_json(path.read_text(encoding="utf-8"))
