"""The keywords and the title that people gave to a picture: IPTC, XMP, and what Windows writes into EXIF.

Whatever cannot be read is left out; nothing here raises. XMP is searched as text, not parsed: an XML parser would
follow whatever a stranger's file asks of it. Fields: IPTC-IIM 4.2, ISO 16684-1 (XMP).
"""

import contextlib
import html
from collections.abc import Iterator
from typing import Any

from PIL import Image, IptcImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from imaging.metadata import plain_text

MOST_KEYWORDS = 64
MAX_KEYWORD_LENGTH = 200
"""Characters. What exceeds either is cut."""

_MOST_XMP = 64 * 1024
_IPTC_FIELDS = ((2, 5), (2, 25))
_EXIF_FIELDS = (0x9C9B, 0x9C9E)
_XMP_FIELDS = ("dc:title", "dc:subject")
_XMP_ITEM = "rdf:li"


def read_keywords(image: Image.Image) -> tuple[str, ...]:
    """Title and keywords, each once, in the order in which they are found. Never raises."""
    found: dict[str, None] = {}
    for source in (_iptc, _xmp, _exif):
        with contextlib.suppress(Exception):
            for keyword in source(image):
                if keyword:
                    found.setdefault(keyword[:MAX_KEYWORD_LENGTH])
    return tuple(found)[:MOST_KEYWORDS]


def _iptc(image: Image.Image) -> Iterator[str]:
    if not isinstance(image, JpegImageFile | TiffImageFile):
        return
    fields = IptcImagePlugin.getiptcinfo(image) or {}
    for field in _IPTC_FIELDS:
        values = fields.get(field, [])
        for value in values if isinstance(values, list) else [values]:
            yield plain_text(value)


def _xmp(image: Image.Image) -> Iterator[str]:
    packet: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if isinstance(packet, bytes):
        packet = packet[:_MOST_XMP].decode("utf-8", "replace")
    for name in _XMP_FIELDS:
        for field in _elements(packet[:_MOST_XMP], name):
            for item in _elements(field, _XMP_ITEM):
                yield plain_text(html.unescape(item).encode("utf-8"))


def _elements(text: str, name: str) -> Iterator[str]:
    """What stands in each element of that name, in one pass; a pattern would take quadratic time where ends lack."""
    at = 0
    while (start := text.find(f"<{name}", at)) >= 0:
        inside = text.find(">", start) + 1
        end = text.find(f"</{name}>", inside) if inside else -1
        if end < 0:
            return
        yield text[inside:end]
        at = end


def _exif(image: Image.Image) -> Iterator[str]:
    exif = image.getexif()
    for field in _EXIF_FIELDS:
        value = exif.get(field)
        if value:
            for keyword in bytes(value).decode("utf-16-le", "ignore").split("\x00", 1)[0].split(";"):
                yield plain_text(keyword.encode("utf-8"))
