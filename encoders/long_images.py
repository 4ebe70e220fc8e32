"""Images many times longer than wide to a model's input, in memory that does not follow their length.

open_clip scales the whole image and then cuts out the centre: 60,000 x 4 pixels pass through 3.4 million x 224. Here
only the part that the model will see is scaled, at the same scale and phase, with as much around it as the filter
reaches, so the result differs in rounding only (of columns before rows or rows before columns, which Pillow chooses
by size). Where the whole length is seen, it is first averaged down to a size that is still many times the model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from open_clip.transform import CenterCropOrPad, ResizeKeepRatio
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize  # type: ignore[import-untyped]

REDUCING_GAP = 16.0
"""Averaging stops at so many times the size to come, where Pillow's documentation already calls 3 indistinguishable."""
_FILTERS = {
    # The reach in pixels of the larger of both grids.
    InterpolationMode.BILINEAR: (Image.Resampling.BILINEAR, 1),
    InterpolationMode.BICUBIC: (Image.Resampling.BICUBIC, 2),
}


@dataclass(frozen=True)
class _Side:
    """One side, `source` pixels scaled to `scaled`, of which the model sees `seen` pixels, the first at `offset`.

    A negative offset is padding.
    """

    source: int
    scaled: int
    offset: int
    seen: int

    @classmethod
    def centred(cls, source: int, scaled: int, seen: int) -> _Side:
        """Centred and rounded as open_clip and torchvision do."""
        offset = -((seen - scaled) // 2) if scaled < seen else round((scaled - seen) / 2)
        return cls(source, scaled, offset, seen)

    @property
    def first(self) -> int:
        return max(0, self.offset)

    @property
    def length(self) -> int:
        return min(self.scaled, self.offset + self.seen) - self.first

    def region(self, reach: int) -> tuple[int, int]:
        """The source pixels that count: the first, and the one after the last."""
        scale = self.source / self.scaled
        # One more, because the filter's bounds are rounded.
        around = reach * max(scale, 1.0) + 1
        end = (self.first + self.length) * scale
        return max(0, math.floor(self.first * scale - around)), min(self.source, math.ceil(end + around))

    def box(self, region: tuple[int, int]) -> tuple[float, float]:
        """What is seen, within a region of the source."""
        scale, (start, stop) = self.source / self.scaled, region
        end = (self.first + self.length) * scale
        return self.first * scale - start, min(end - start, stop - start)


class LongImages:
    """The same geometry as open_clip's `resize` and what follows it, for a view of `height` x `width` pixels."""

    def __init__(self, geometry: Sequence[Any], height: int, width: int) -> None:
        resize, *rest = geometry
        crop = next((one for one in rest if isinstance(one, CenterCrop | CenterCropOrPad)), None)
        if not isinstance(resize, Resize | ResizeKeepRatio) or resize.interpolation not in _FILTERS:
            raise RuntimeError(
                f"open_clip's transform begins with {resize}, which is no resize by a bilinear or bicubic filter: "
                "this release of open_clip is not understood; install the one in requirements.lock"
            )
        self._resize = resize
        self._filter, self._reach = _FILTERS[resize.interpolation]
        self._fill = int(getattr(crop, "fill", 0))
        self._height, self._width = height, width

    def __call__(self, image: Image.Image) -> Image.Image:
        """The model's view of an upright RGB image of any shape."""
        height, width = self._scaled(image)
        across = _Side.centred(image.width, width, self._width)
        down = _Side.centred(image.height, height, self._height)
        columns, rows = across.region(self._reach), down.region(self._reach)
        region = (columns[0], rows[0], columns[1], rows[1])
        # Cut before it is scaled: Pillow takes the box in float32, too coarse for places far from the origin.
        part = image if region == (0, 0, *image.size) else image.crop(region)
        (left, right), (top, bottom) = across.box(columns), down.box(rows)
        seen = part.resize(
            (across.length, down.length), self._filter, box=(left, top, right, bottom), reducing_gap=REDUCING_GAP
        )
        if seen.size == (self._width, self._height):
            return seen
        view = Image.new("RGB", (self._width, self._height), (self._fill,) * 3)
        view.paste(seen, (max(0, -across.offset), max(0, -down.offset)))
        return view

    def _scaled(self, image: Image.Image) -> tuple[int, int]:
        """Height and width of the whole image at the model's scale, at least a pixel, where open_clip would fail."""
        if isinstance(self._resize, ResizeKeepRatio):
            height, width = ResizeKeepRatio.get_params(image, self._resize.size, self._resize.longest)
            return max(1, height), max(1, width)
        if isinstance(self._resize.size, int):
            short = min(image.size)
            height, width = (int(self._resize.size * side / short) for side in (image.height, image.width))
            return height, width
        return self._height, self._width
