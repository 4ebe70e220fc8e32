"""An image to a model's input, exactly as open_clip's own transform does it, cut in two.

The geometry (resize, crop, pad) stays with Pillow on the CPU and ends in 8-bit pixels, a quarter of the bytes of
floats; scaling and normalisation follow on the device.
"""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transform import MaybeToTensor, PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize  # type: ignore[import-untyped]

from encoders.encoder import LONG
from encoders.long_images import LongImages

_GEOMETRY = {
    "shortest": "shorter side fitted and the middle cut out",
    "longest": "longer side fitted and padded",
    "squash": "squashed",
}


class Preprocessing:
    """The two halves of the transform that `config` asks for. `description` says it for a person."""

    def __init__(self, config: PreprocessCfg) -> None:
        *geometry, to_tensor, normalise = image_transform_v2(config, is_train=False).transforms
        if not isinstance(to_tensor, MaybeToTensor) or not isinstance(normalise, Normalize):
            raise RuntimeError(
                f"open_clip's transform ends with {to_tensor} and {normalise}, not with ToTensor and Normalize: "
                "this release of open_clip is not understood; install the one in requirements.lock"
            )
        self._geometry = Compose(geometry)
        size = config.size if isinstance(config.size, tuple | list) else (config.size, config.size)
        self.height, self.width = int(size[0]), int(size[1])
        self._long_images = LongImages(geometry, self.height, self.width)
        self.mean, self.std = tuple(map(float, normalise.mean)), tuple(map(float, normalise.std))
        mean, std = (" ".join(f"{value:.3g}" for value in values) for values in (self.mean, self.std))
        self.description = (
            f"{self.width} x {self.height}, {_GEOMETRY.get(config.resize_mode, config.resize_mode)}, "
            f"{config.interpolation}, mean {mean}, deviation {std}"
        )
        canonical = json.dumps(asdict(config), sort_keys=True, default=list)
        self.digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """The model's view of an upright RGB image: height x width x 3, 8 bits.

        Bit for bit open_clip's up to a length of `LONG` times the width; beyond that up to rounding, or averaging
        where the whole length is seen. Time and memory are bounded by the larger of the image and the model's input.
        """
        if max(image.size) > LONG * min(image.size):
            return np.asarray(self._long_images(image))
        return np.asarray(self._geometry(image))

    def normalise(self, pixels: Tensor) -> Tensor:
        """(n, height, width, 3) uint8 to (n, 3, height, width) float32, on the device of `pixels`."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, 3, 1, 1)
        return pixels.permute(0, 3, 1, 2).contiguous().float().div_(255).sub_(mean).div_(std)
