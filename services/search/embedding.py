"""What search needs of a model: vectors for words and for an image's bytes, and whose vectors they are."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Modality
from schemas.events import EncoderIdentity, ImageFacts
from stores.vectors import Vector


class Model(Protocol):
    """The model behind the engine; its identity is known once it is loaded."""

    @property
    def identity(self) -> EncoderIdentity:
        """Name, fingerprint and dimension."""
        ...

    @property
    def device(self) -> str:
        """Where it runs: "cpu", "cuda:0", "mps"."""
        ...

    @property
    def modality(self) -> Modality:
        """What it takes."""
        ...


class EmbeddedImage(Protocol):
    """What the engine answers for an image."""

    @property
    def vector(self) -> Vector:
        """Shape (dimension,), float32, unit length."""
        ...

    @property
    def image(self) -> ImageFacts:
        """What the bytes say about the picture."""
        ...


class EmbeddingEngine(Protocol):
    """Embeds off the event loop, in batches with whoever else asks; `encoders.engine` is one."""

    @property
    def encoder(self) -> Model:
        """The model."""
        ...

    async def embed_image(self, data: bytes, *, key: str | None = None, urgent: bool = False) -> EmbeddedImage:
        """The vector of an encoded image; an urgent one does not wait behind a bulk of others.

        `key` is its name, for models that read names. Raises `imaging.formats.BadImage`, `ConfigurationError` where
        the model takes words only, and `DependencyUnavailable` if remote.
        """
        ...

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of shape (n, dimension), in order. Raises `DependencyUnavailable` if remote."""
        ...
