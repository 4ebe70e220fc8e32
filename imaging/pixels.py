"""Any pixel mode to 8-bit RGB, as a person would see the picture on white paper."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation (Exif 3.0, tag 0x0112)."""


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned and mirrored so that EXIF orientation 1 to 8 is undone."""
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB.

    - transparency, by alpha channel, palette or colour key: composited on white;
    - 16-bit grey: 0..65535 to 0..255;
    - 32-bit integers and floats have no agreed range: see `_to_grey`;
    - CMYK: the plain subtractive formula, colour profiles are not applied, as CLIP models were trained;
    - LAB: through the sRGB profile.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _to_grey(np.asarray(image), wide=image.mode.startswith("I;16")).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(rgba, mask=rgba.getchannel("A"))
        return paper
    return image.convert("RGB")


def _to_grey(values: NDArray[np.generic], *, wide: bool) -> Image.Image:
    """Grey from numbers of shape (height, width): 16-bit where `wide`, else 32-bit integers or floats.

    The range of 32-bit values is guessed from the values: within 0..1 if they are floats, within 0..255, within
    0..65535, else stretched from the smallest to the largest. NaN is black, infinities are the ends.
    """
    if wide:
        return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    finite: NDArray[np.floating] = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=np.inf, neginf=-np.inf)
    known = finite[np.isfinite(finite)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    finite = np.clip(finite, low, high)
    if low >= 0 and high <= 1 and values.dtype.kind == "f":
        scaled = finite * 255
    elif low >= 0 and high <= 255:
        scaled = finite
    elif low >= 0 and high <= 65535:
        scaled = finite / 257
    else:
        # Halved first: the distance between two floats may be more than a float can hold.
        scaled = (finite / 2 - low / 2) / (high / 2 - low / 2 or 1) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("the LAB image has no sRGB form")
    return converted
