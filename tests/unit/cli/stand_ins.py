"""An encoder whose vectors can be moved while its identity stays, and which is as slow as a test wants."""

import threading
from collections.abc import Sequence

import numpy as np
from PIL import Image

from encoders.encoder import Modality, Prepared, TakesNoWords, Vectors
from encoders.hashing import HashingEncoder
from schemas.events import EncoderIdentity

PATIENCE = 60.0


class StandIn:
    """The hashing encoder's vectors, each turned so far that its cosine with what it was is `cosine`."""

    scoring = None
    target_size = 64

    def __init__(
        self,
        cosine: float = 1.0,
        *,
        dtype: str = "float32",
        modality: Modality = Modality.IMAGES,
        has_words: bool = True,
        device: str = "cpu",
        weights: str = "w",
    ) -> None:
        self.identity = EncoderIdentity(model="hashing", fingerprint=f"{weights}-p-{dtype}", dimension=256)
        self.modality = modality
        self.device = device
        self.cosine = cosine
        self.has_words = has_words
        self.loads = threading.Event()
        self.loads.set()
        self.reads = threading.Event()
        """Until it is set, texts wait: the canary is under way then, and the warm-up is over."""
        self.reads.set()
        self.reading = threading.Event()
        self.texts = 0
        self._hashing = HashingEncoder()

    def load(self) -> None:
        """When it may."""
        assert self.loads.wait(PATIENCE)

    def prepare(self, image: Image.Image) -> Prepared:
        """As the hashing encoder does."""
        return self._hashing.prepare(image)

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        """The turned vectors."""
        return self._turned(self._hashing.forward(batch))

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """The turned vectors."""
        self.reading.set()
        assert self.reads.wait(PATIENCE)
        if not self.has_words:
            raise TakesNoWords("its tokenizer is not on this machine")
        self.texts += len(texts)
        return self._turned(self._hashing.encode_text(texts))

    def _turned(self, vectors: Vectors) -> Vectors:
        aside = np.roll(vectors, 1, axis=1) - (np.roll(vectors, 1, axis=1) * vectors).sum(1, keepdims=True) * vectors
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        turned: Vectors = self.cosine * vectors + np.sqrt(1 - self.cosine**2) * aside
        return turned.astype(np.float32)
