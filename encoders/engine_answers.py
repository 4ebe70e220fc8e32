"""What an engine answers, and what it tells of its work."""

from dataclasses import dataclass

from encoders.encoder import Vectors
from schemas.errors import SightlineError
from schemas.events import ImageFacts


class EngineClosed(SightlineError):
    """The engine was closed, or broke, before it could answer."""


@dataclass(frozen=True)
class Steps:
    """When an image went through the engine, in seconds of `time.perf_counter`.

    From `began` to `prepared` it waited for a thread and was decoded, from then to `ended` it waited for the model and
    was in it.
    """

    began: float
    prepared: float
    ended: float


@dataclass(frozen=True)
class EncodedImage:
    """What the bytes say, the unit vector of shape (d,), float32, and when it was made."""

    image: ImageFacts
    vector: Vectors
    steps: Steps | None = None


@dataclass(frozen=True)
class BatchReport:
    """One forward pass. Seconds; `waited` is the time before it in which the model stood idle for decoding."""

    images: int
    forward: float
    waited: float


@dataclass(frozen=True)
class WarmUp:
    """A first look at where time goes, in seconds: `prepare` of one image, `forward` and `finish` of a batch."""

    images: int
    prepare: float
    forward: float
    finish: float

    @property
    def images_per_second(self) -> float:
        """Of the model alone, decoding not counted."""
        return self.images / (self.forward + self.finish)
