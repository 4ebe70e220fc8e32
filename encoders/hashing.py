"""An encoder without weights: the layout of colours and edges as a vector. For tests, and until a model is chosen.

The same picture, whatever its size or compression, keeps nearly the same vector; pictures of different colours and
layouts are about orthogonal. It knows nothing of what is shown: words get vectors in the same dimension, by feature
hashing (Weinberger et al. 2009), and are near to texts that share words, not to pictures.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Modality, Prepared, Vectors
from schemas.events import EncoderIdentity

if TYPE_CHECKING:
    # The catalogue is asked where nothing is embedded, and Pillow is missing there.
    from PIL import Image

DIMENSION = 256
_SIDE = 64
_REVISION = b"1"
"""Raised with every change that moves vectors, so that the fingerprint changes with them."""

# How much each group of features counts, and the length below which a group is taken for noise.
_LAYOUT, _EDGES, _PALETTE, _CONSTANT = 1.0, 0.6, 0.8, 0.02
_QUIET_LAYOUT, _QUIET_EDGES = 0.25, 0.1

Floats = NDArray[np.float32]


class HashingEncoder:
    """Deterministic, without torch, some hundred images a second after decoding. See the module."""

    identity = EncoderIdentity(
        model="hashing",
        fingerprint="-".join(
            [
                hashlib.sha256(b"hashing weights " + _REVISION).hexdigest()[:12],
                hashlib.sha256(b"hashing preprocessing " + _REVISION).hexdigest()[:12],
                "float32",
            ]
        ),
        dimension=DIMENSION,
    )
    modality = Modality.IMAGES
    scoring = None
    target_size = _SIDE
    device = "cpu"

    def __init__(self) -> None:
        self._mix = _hadamard(DIMENSION) * _signs(DIMENSION)

    def load(self) -> None:
        """Nothing to load."""

    def prepare(self, image: "Image.Image") -> Prepared:
        """64 x 64 x 3 uint8, the picture squashed to a square."""
        from PIL.Image import Resampling

        return np.asarray(image.resize((_SIDE, _SIDE), Resampling.BILINEAR, reducing_gap=3.0))

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        """Unit vectors of shape (n, 256)."""
        if not batch:
            return np.zeros((0, DIMENSION), dtype=np.float32)
        rgb = np.stack(batch).astype(np.float32) / np.float32(255)
        features = np.concatenate([_layout(rgb), _edges(rgb), _palette(rgb)], axis=1)
        # The constant keeps the vector of a plain grey picture from being nothing.
        constant = np.full((len(batch), DIMENSION - features.shape[1]), _CONSTANT, dtype=np.float32)
        return _unit(np.concatenate([features, constant], axis=1) @ self._mix)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of shape (n, 256): hashed words, and at less weight their runs of three letters."""
        vectors = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            vector[0] = 1e-3
            for word in re.findall(r"\w+", text.casefold()):
                _add(vector, word, 1.0)
                padded = f"^{word}$"
                for at in range(len(padded) - 2):
                    _add(vector, padded[at : at + 3], 0.3)
        return _unit(vectors)


def _layout(rgb: Floats) -> Floats:
    """How brightness and two colour differences lie on an 8 x 8 grid, without their means: shape (n, 192)."""
    grid = rgb.reshape(len(rgb), 8, _SIDE // 8, 8, _SIDE // 8, 3).mean(axis=(2, 4))
    opponent = _opponent(grid)
    opponent -= opponent.mean(axis=(1, 2), keepdims=True)
    return _LAYOUT * _soft(opponent.reshape(len(rgb), -1), _QUIET_LAYOUT)


def _edges(rgb: Floats) -> Floats:
    """Upright, level and fine edges in each of 4 x 4 cells, without their means: shape (n, 48)."""
    grey = rgb.mean(axis=3)
    # Neighbours four apart, of pixels two wide, survive compression and scaling where single pixels do not.
    smooth = grey.reshape(len(rgb), _SIDE // 2, 2, _SIDE // 2, 2).mean(axis=(2, 4))
    across = np.abs(np.roll(smooth, 2, axis=2) - smooth)
    down = np.abs(np.roll(smooth, 2, axis=1) - smooth)
    slant = np.abs(np.roll(smooth, (2, 2), axis=(1, 2)) - smooth)
    cells = np.stack([across, down, slant], axis=3).reshape(len(rgb), 4, 8, 4, 8, 3).mean(axis=(2, 4))
    cells = np.sqrt(cells)
    cells -= cells.mean(axis=(1, 2), keepdims=True)
    return _EDGES * _soft(cells.reshape(len(rgb), -1), _QUIET_EDGES)


def _palette(rgb: Floats) -> Floats:
    """The mean colour and its spread, and how much there is of each of nine hues: shape (n, 15)."""
    coarse = rgb.reshape(len(rgb), 16, _SIDE // 16, 16, _SIDE // 16, 3).mean(axis=(2, 4))
    opponent = _opponent(coarse).reshape(len(rgb), -1, 3)
    means, spreads = opponent.mean(axis=1), opponent.std(axis=1)
    angles = np.arctan2(opponent[:, :, 2], opponent[:, :, 1])
    strengths = np.hypot(opponent[:, :, 1], opponent[:, :, 2])
    centres = np.arange(9, dtype=np.float32) * (2 * np.pi / 9)
    near = np.maximum(0, np.cos(angles[:, :, None] - centres)) ** 3
    hues = (near * strengths[:, :, None]).mean(axis=1)
    hues -= hues.mean(axis=1, keepdims=True)
    # Means and spreads are taken from what is usual for photographs, so that the unusual speaks.
    usual = np.array([0.5, 0.0, 0.0, 0.2, 0.08, 0.08], dtype=np.float32)
    colour = np.concatenate([means, spreads], axis=1) - usual
    return _PALETTE * np.concatenate([colour, 3 * hues], axis=1).astype(np.float32)


def _opponent(rgb: Floats) -> Floats:
    """Brightness, red against green, yellow against blue."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return np.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], axis=-1)


def _soft(rows: Floats, quiet: float) -> Floats:
    """Rows brought to about unit length, those much shorter than `quiet` left small, for they are noise."""
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / (lengths + np.float32(quiet))


def _unit(rows: Floats) -> Vectors:
    lengths: NDArray[np.float64] = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / lengths).astype(np.float32)


def _add(vector: Floats, token: str, weight: float) -> None:
    digest = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")
    vector[digest % DIMENSION] += weight if digest >> 63 else -weight


def _hadamard(size: int) -> Floats:
    """Sylvester's orthogonal matrix of ±1, scaled to unit rows; `size` is a power of two."""
    matrix = np.ones((1, 1), dtype=np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.float32(np.sqrt(size))


def _signs(size: int) -> Floats:
    bits = np.frombuffer(hashlib.shake_256(b"signs" + _REVISION).digest(size), dtype=np.uint8) & 1
    return bits.astype(np.float32) * 2 - 1
