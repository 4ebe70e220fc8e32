"""Bytes to pixels, safely: the header is judged before any pixel is decoded."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageChops, PngImagePlugin, WebPImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory
from PIL.TiffImagePlugin import TiffImageFile
from pillow_heif import HeifImageFile

from imaging.formats import BadImage, sniff
from imaging.keywords import read_keywords
from imaging.metadata import Metadata, read_metadata
from imaging.pixels import to_rgb, upright
from schemas.dead_letter import RejectReason
from schemas.events import ImageFacts

__all__ = ["BadImage", "DecodedImage", "OpenedImage", "decode", "open_image"]


@dataclass(frozen=True)
class DecodedImage:
    """An upright RGB image, and what its bytes say. `facts` gives the full size even where `image` was reduced."""

    image: Image.Image
    facts: ImageFacts


class _Tiff(TiffImageFile):
    """TIFF without Pillow's own pixel limit, which warns through process-wide state; ours has been applied before."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size).im
        super().load_prepare()


# Plugins are called directly: `Image.open` would compare with the process-wide MAX_IMAGE_PIXELS, and HEIC would have
# to be registered process-wide.
_OPENERS: dict[str, Callable[[IO[bytes]], Image.Image]] = {
    "jpeg": jpeg_factory,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "tiff": _Tiff,
    "bmp": BmpImagePlugin.BmpImageFile,
    "avif": AvifImageFile,
    "heic": HeifImageFile,
}


class OpenedImage:
    """An image whose header has been read and found acceptable, and none of whose pixels are decoded yet.

    `width` and `height` are the header's, before orientation; `pixels` is the number that `decode` will produce,
    for callers that bound their memory.
    """

    def __init__(self, name: str, image: Image.Image, max_pixels: int, at_least: int | None) -> None:
        self.format = name
        self.width, self.height = image.size
        self._image = image
        self._max_pixels = max_pixels
        if at_least is not None and isinstance(image, JpegImageFile):
            # The largest of the DCT scales 1/2, 1/4, 1/8 that leaves both sides, hence the shorter one, twice that.
            image.draft("RGB", (2 * at_least, 2 * at_least))
        self.pixels = math.prod(image.size)

    def decode(self) -> DecodedImage:
        """Decode the first frame, once. Raises `BadImage`: DECODE_FAILED, or TOO_MANY_PIXELS if the header lied."""
        try:
            return self._decode()
        except BadImage:
            raise
        except Exception as error:
            raise _failed(self.format, error) from error

    def keywords(self) -> tuple[str, ...]:
        """What people called the image, as `imaging.keywords` reads it; all of it once `decode` has been called."""
        return read_keywords(self._image)

    def frame(self) -> tuple[Image.Image, int]:
        """The first frame in the mode that its file has, and the EXIF orientation (1 to 8) that is still to be undone.

        For those who care for colour profiles and transparency; once, instead of `decode`. Raises as `decode` does.
        """
        try:
            image, metadata, _ = self._load()
        except BadImage:
            raise
        except Exception as error:
            raise _failed(self.format, error) from error
        return image, metadata.orientation

    def _decode(self) -> DecodedImage:
        image, metadata, before = self._load()
        # 1 where the plugin has turned the image already, as those for TIFF and HEIC do.
        orientation = metadata.orientation
        facts = ImageFacts(
            width=self.width if orientation < 5 else self.height,
            height=self.height if orientation < 5 else self.width,
            format=self.format,
            taken_at=metadata.taken_at,
            camera=metadata.camera,
            orientation=before.stored_orientation,
            location=metadata.location,
        )
        return DecodedImage(upright(to_rgb(image), orientation), facts)

    def _load(self) -> tuple[Image.Image, Metadata, Metadata]:
        """The decoded frame, what its file says, and what it said before the pixels were decoded."""
        image = self._image
        # The plugin for TIFF turns the image while it loads, and forgets that it did.
        before = read_metadata(image) if self.format == "tiff" else None
        image.load()
        if math.prod(image.size) > self._max_pixels:
            raise _too_many(self.format, *image.size, self._max_pixels)
        metadata = read_metadata(image)
        if self.format == "jpeg" and image.mode == "CMYK" and "adobe" not in image.info:
            # Pillow inverts every CMYK JPEG as Adobe writes them; only Adobe's marker says that it is one.
            image = ImageChops.invert(image)
        return image, metadata, before or metadata


def open_image(data: bytes, *, max_pixels: int, at_least: int | None = None) -> OpenedImage:
    """Read the header. Parameters and errors as for `decode`."""
    name = sniff(data)
    try:
        image = _OPENERS[name](io.BytesIO(data))
        if math.prod(image.size) > max_pixels:
            raise _too_many(name, *image.size, max_pixels)
        return OpenedImage(name, image, max_pixels, at_least)
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(RejectReason.TOO_MANY_PIXELS, f"{name}: {error}") from error
    except Exception as error:
        raise _failed(name, error) from error


def decode(data: bytes, *, max_pixels: int, at_least: int | None = None) -> DecodedImage:
    """The picture in the bytes: upright, RGB, the first frame of an animation, transparency on white.

    `max_pixels` bounds width times height. Where `at_least` is given, a JPEG may be decoded at a reduced scale that
    leaves its shorter side at least twice `at_least` pixels. Safe to call from several threads at once.

    Raises `BadImage` and nothing else: EMPTY, NOT_AN_IMAGE, UNSUPPORTED_FORMAT, TOO_MANY_PIXELS, DECODE_FAILED.
    A `MemoryError` counts as DECODE_FAILED too: codecs raise it for headers that lie, within a limit that the
    process can afford, and one such image must not stop every restart.
    """
    return open_image(data, max_pixels=max_pixels, at_least=at_least).decode()


def _too_many(name: str, width: int, height: int, max_pixels: int) -> BadImage:
    return BadImage(
        RejectReason.TOO_MANY_PIXELS,
        f"{name} of {width} x {height} = {width * height:,} pixels, more than the limit of {max_pixels:,}",
    )


def _failed(name: str, error: Exception) -> BadImage:
    cause = " ".join(str(error).split()) or type(error).__name__
    return BadImage(RejectReason.DECODE_FAILED, f"{name}: {cause}"[:300])
