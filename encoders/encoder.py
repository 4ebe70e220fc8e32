"""What every model must be able to do, in three steps so that they can overlap: prepare, forward, finish."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError
from schemas.events import EncoderIdentity, ImageFacts

if TYPE_CHECKING:
    # The search service names modalities where no picture is ever opened, and Pillow is not installed.
    from PIL import Image

Prepared = NDArray[np.uint8]
"""One image ready for the forward pass, in the encoder's own shape (for open_clip: height x width x 3)."""

Vectors = NDArray[np.float32]
"""Shape (n, dimension), rows of unit length."""

LONG = 32
"""The ratio of an image's sides beyond which `Encoder.prepare` takes no more memory than at it."""


class Modality(StrEnum):
    """What an encoder takes."""

    IMAGES_AND_WORDS = "images and words"
    IMAGES = "images (words get vectors, but not near to what they name)"
    WORDS = "words"


@dataclass(frozen=True)
class Scoring:
    """How the cosine of a text and an image becomes a probability, as the model was trained.

    "softmax" over the texts that are compared: softmax(scale * cosine) (CLIP, Radford et al. 2021); "sigmoid" for
    each text alone: sigmoid(scale * cosine + bias) (SigLIP, Zhai et al. 2023). `scale` is not a logarithm.
    """

    kind: Literal["softmax", "sigmoid"]
    scale: float
    bias: float = 0.0


class OutOfMemory(Exception):
    """The batch did not fit on the device; the engine halves it and goes on."""


class TakesNoWords(ConfigurationError):
    """This encoder makes no vectors of words; those of images may be as good as ever. The message says why."""


class SomeFailed(Exception):
    """Some images of a batch got no vector, each for a reason of its own; the engine gives the others theirs.

    `vectors` has a row for every image, of no meaning for those that failed; `failures` are by position.
    """

    def __init__(self, vectors: Vectors, failures: Mapping[int, Exception]) -> None:
        super().__init__(f"{len(failures)} of {len(vectors)} images failed: {next(iter(failures.values()))}")
        self.vectors = vectors
        self.failures = failures


class Encoder(Protocol):
    """A model that gives images, and perhaps words, vectors in one space.

    Methods are synchronous and may take long: call them from threads, through `encoders.engine`.
    `prepare` is safe to call from several threads at once; `forward` and `encode_text` are called by
    one thread at a time.
    """

    @property
    def identity(self) -> EncoderIdentity:
        """Name, fingerprint and dimension; known after `load`."""
        ...

    @property
    def modality(self) -> Modality:
        """What it takes; known before `load`."""
        ...

    @property
    def scoring(self) -> Scoring | None:
        """How its cosines become probabilities; known after `load`. None where words do not name pictures."""
        ...

    @property
    def target_size(self) -> int | None:
        """The pixels per side that the model looks at; larger images may be decoded at a reduced scale that keeps
        at least twice this. None where the full image matters.
        """
        ...

    @property
    def device(self) -> str:
        """Where it runs: "cpu", "cuda:0", "mps"; "remote" where a forward pass is a request that may cost money."""
        ...

    def load(self) -> None:
        """Load weights and make one forward pass. Raises `ConfigurationError` naming what is missing and the remedy."""
        ...

    def prepare(self, image: "Image.Image") -> Prepared:
        """An upright RGB image to the model's input. CPU only.

        On its way it makes no more pixels than the image has, or 2 x `target_size`^2 for each time that the image is
        as long as wide, counted to `LONG`; the engine reserves that much. Whatever it raises is the image's fault.
        """
        ...

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        """Unit vectors for prepared images, in order. Raises `OutOfMemory`, or `SomeFailed` for images alone."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors for texts, in the same space, in order. Raises `TakesNoWords` where it makes none."""
        ...


@runtime_checkable
class NamedEncoder(Protocol):
    """What an `Encoder` has besides, whose images get vectors from what they are called, not from their pixels.

    The engine decodes the image all the same, so that broken bytes are refused, and then calls this in place of
    `Encoder.prepare`. The same bytes under another key are another image.
    """

    def prepare_named(self, image: ImageFacts, key: str, keywords: Sequence[str] = ()) -> Prepared:
        """The model's input from what the bytes say, the object's key, empty where there is none, and keywords.

        CPU only, safe to call from several threads at once.
        """
        ...


@runtime_checkable
class ParallelEncoder(Protocol):
    """What an `Encoder` has besides whose passes are divided among threads of the processor."""

    @property
    def threads(self) -> int:
        """Among how many, unless told otherwise; 1 where it does not compute on the processor."""
        ...

    def divide(self, threads: int) -> None:
        """Divide what the calling thread computes from now on among so many; other threads keep to theirs."""
        ...
