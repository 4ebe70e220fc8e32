"""A few golden inputs through the whole path, to see whether an encoder still makes the vectors that it made.

The fingerprint tells encoders apart by their weights and settings. It cannot tell that a library, a driver, a card or
somebody else's server now computes something else from the same weights; the vectors of known inputs can.
"""

import asyncio
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import features

from encoders.encoder import Encoder, Modality, TakesNoWords, Vectors
from encoders.engine import EncoderEngine
from schemas.events import EncoderIdentity

GOLDEN_IMAGES = {"photo": "photo.jpg", "drawing": "drawing.png"}
"""Name to file in encoders/golden: a progressive 4:2:0 JPEG with EXIF orientation 6, and a PNG with an alpha channel.
Together they need a decoder's every step; benchmarks/golden_images.py drew them.
"""
GOLDEN_TEXTS = {
    "words": "a photo of two red apples on a blue table",
    "foreign words": "Der Straßenhändler verkauft 3 Äpfel – 日本語, русский, déjà vu!",
}
GOLDEN = (*GOLDEN_IMAGES, *GOLDEN_TEXTS)
"""Every name, in order. What a name stands for never changes: collections keep vectors under it."""

LEAST = {"float32": 0.9999, "float16": 0.9995}
LEAST_OTHERWISE = 0.999
"""The least cosine between vectors of one fingerprint, by number type. Measured in float32 on ViT-B-32: 1e-7 of
difference from batch to batch, 8e-6 when every decoded value is off by up to one, as with another JPEG library;
rounding weights and activations to bfloat16 cost 5e-5, and cards of different generations each round their own way.
"""
LEAST_FOR_READERS = 0.99
"""A search may run on another device, in another number type: rank by rank its results stay the same above this."""


async def golden_vectors(engine: EncoderEngine, *, words_needed: bool = False) -> dict[str, Vectors]:
    """Name to unit vector of shape (dimension,), of all golden inputs that the engine's encoder takes.

    Raises what embedding raises; only words may be absent, where a tokenizer is missing or a model has none, and not
    with `words_needed`.
    """
    vectors: dict[str, Vectors] = {}
    if engine.encoder.modality is not Modality.WORDS:
        folder = Path(__file__).parent / "golden"
        data = {file: (folder / file).read_bytes() for file in GOLDEN_IMAGES.values()}
        images = await asyncio.gather(
            *(engine.embed_image(one, key=f"golden/{name}", urgent=True) for name, one in data.items())
        )
        vectors |= {name: image.vector for name, image in zip(GOLDEN_IMAGES, images, strict=True)}
    try:
        texts = await engine.embed_texts(list(GOLDEN_TEXTS.values()))
    except TakesNoWords:
        if words_needed:
            raise
        return vectors
    return vectors | dict(zip(GOLDEN_TEXTS, texts, strict=True))


def stored_form(vectors: Mapping[str, Vectors]) -> dict[str, bytes]:
    """The vectors as a collection's metadata keeps them: little-endian float32."""
    return {name: vector.astype("<f4").tobytes() for name, vector in vectors.items()}


def cosines(stored: Mapping[str, bytes], now: Mapping[str, Vectors]) -> dict[str, float]:
    """The cosine of each golden input that is in both; 0 where a vector has no length, another one, or NaN."""
    return {name: _cosine(stored[name], now[name]) for name in GOLDEN if name in stored and name in now}


def least_cosine(identity: EncoderIdentity) -> float:
    """What a writer with this fingerprint must reach."""
    return LEAST.get(identity.fingerprint.rpartition("-")[2], LEAST_OTHERWISE)


def made_with(encoder: Encoder) -> dict[str, str]:
    """Releases of the libraries that an image passes on its way, and the kind of device, by name.

    Libraries that this process has not loaded are left out.
    """
    libraries = ("torch", "open_clip", "transformers", "numpy", "PIL")
    found = {name: str(getattr(sys.modules[name], "__version__", "?")) for name in libraries if name in sys.modules}
    found |= {name: release for name in ("libjpeg_turbo", "webp") if (release := features.version(name)) is not None}
    return found | {"device": encoder.device, "processor": _processor(encoder.device)}


def _processor(device: str) -> str:
    """The card's name; for a CPU the instructions that torch may use, where torch is there to tell."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith(("cuda", "cpu")):
        return platform.machine()
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _cosine(stored: bytes, now: Vectors) -> float:
    if len(stored) != 4 * len(now):
        return 0.0
    one, other = np.frombuffer(stored, "<f4").astype(np.float64), now.astype(np.float64)
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = float(one @ other) / length if length > 0 else 0.0
    return min(1.0, cosine) if np.isfinite(cosine) else 0.0
