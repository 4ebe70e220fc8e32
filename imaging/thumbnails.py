"""Small pictures of images, as a browser shows them: upright, in sRGB, without a word of metadata."""

import io
from contextlib import nullcontext
from enum import StrEnum

from PIL import Image, ImageCms

from imaging.decode import OpenedImage, open_image
from imaging.formats import BadImage
from imaging.pixels import to_rgb, upright
from imaging.room import PixelRoom
from schemas.dead_letter import RejectReason

_PROFILE_BYTES = 8 * 1024 * 1024
_RESIZED_MODES = ("RGB", "RGBA", "L", "CMYK")


class ThumbnailFormat(StrEnum):
    """How a thumbnail is encoded. JPEG knows no transparency: it is put on white."""

    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        """The IANA media type."""
        return f"image/{self.value}"


def make_thumbnail(
    data: bytes, side: int, kind: ThumbnailFormat, *, max_pixels: int, room: PixelRoom | None = None
) -> bytes:
    """The first frame of an encoded image with its longer side at most `side` pixels, never enlarged, encoded anew.

    Upright, its colours taken through the embedded profile to sRGB, and nothing else of the file: no place, no camera.
    `max_pixels` bounds width times height; `room` the pixels that several threads decode at once. Safe in threads.
    Raises `BadImage` and nothing else.
    """
    opened = _opened(data, side, max_pixels)
    with room.taken(opened.pixels) if room is not None else nullcontext():
        image, orientation = opened.frame()
        try:
            return _encoded(_shrunk(image, side), orientation, kind)
        except Exception as error:
            cause = " ".join(str(error).split()) or type(error).__name__
            raise BadImage(RejectReason.DECODE_FAILED, f"{opened.format}: {cause}"[:300]) from error


def _opened(data: bytes, side: int, max_pixels: int) -> OpenedImage:
    opened = open_image(data, max_pixels=max_pixels)
    if opened.format != "jpeg":
        return opened
    # Once more, now that the proportions are known: a JPEG is then decoded at about the size that is needed.
    longer = max(opened.width, opened.height)
    shorter = side * min(opened.width, opened.height) // longer
    return open_image(data, max_pixels=max_pixels, at_least=max(1, shorter))


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """The image at its new size, in a mode that a profile applies to; the profile stays in `info`."""
    profile = image.info.get("icc_profile")
    if image.mode == "P" or (image.mode in ("RGB", "L", "1") and "transparency" in image.info):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("LA", "La", "PA", "RGBa"):
        image = image.convert("RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in _RESIZED_MODES:
        # Deep grey and LAB: their values have to be brought to 8 bits of RGB first, where no profile of theirs applies.
        image, profile = to_rgb(image), None
    scale = side / max(image.size)
    if scale < 1:
        size = tuple(max(1, round(length * scale)) for length in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3.0)
    else:
        image = image.copy()
    image.info = {"icc_profile": profile} if profile else {}
    return image


def _encoded(image: Image.Image, orientation: int, kind: ThumbnailFormat) -> bytes:
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    if alpha is not None and alpha.getextrema() == (255, 255):
        alpha = None
    picture = _srgb(image)
    if alpha is not None and kind is ThumbnailFormat.WEBP:
        picture.putalpha(alpha)
    elif alpha is not None:
        paper = Image.new("RGB", picture.size, "white")
        paper.paste(picture, mask=alpha)
        picture = paper
    picture = upright(picture, orientation)
    buffer = io.BytesIO()
    if kind is ThumbnailFormat.WEBP:
        picture.save(buffer, "WEBP", quality=80, method=4)
    else:
        picture.save(buffer, "JPEG", quality=84, progressive=True, optimize=True)
    return buffer.getvalue()


def _srgb(image: Image.Image) -> Image.Image:
    """The colours as RGB in sRGB, without alpha. A profile that is damaged or for other colours is passed over."""
    profile = image.info.get("icc_profile")
    # Converting RGBA to RGB drops the alpha and leaves the colours alone.
    colours = image.convert("RGB") if image.mode == "RGBA" else image
    if isinstance(profile, bytes) and 0 < len(profile) <= _PROFILE_BYTES:
        try:
            converted = ImageCms.profileToProfile(
                colours,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None
        if converted is not None:
            return converted
    return colours if colours.mode == "RGB" else colours.convert("RGB")
