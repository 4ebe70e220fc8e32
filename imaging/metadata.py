"""What EXIF says of a picture: orientation, date and camera.

Cameras, phones and editors write much that is wrong. Whatever cannot be read is left out; nothing here raises.
Tags and their forms: Exif 3.0 (CIPA DC-008-2023).
"""

import contextlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

MAX_CAMERA_LENGTH = 80
"""Characters; the longest real "Make Model" are about 50."""

_DATE_TAGS = (Base.DateTimeOriginal, Base.DateTimeDigitized, Base.DateTime)
_DATE_FORMS = ("%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y:%m:%d %H:%M", "%Y:%m:%d")


@dataclass(frozen=True)
class Metadata:
    """`orientation` is 1 to 8 as EXIF counts; `taken_at` has no time zone, since the camera's clock knows none."""

    orientation: int = 1
    taken_at: datetime | None = None
    camera: str | None = None


def read_metadata(image: Image.Image) -> Metadata:
    """The metadata of an image that has been loaded. What is missing or garbage is left out; never raises."""
    ifds = _ifds(image)
    return Metadata(_orientation(ifds), _taken_at(ifds), _camera(ifds))


def _ifds(image: Image.Image) -> list[Mapping[int, Any]]:
    # Date tags belong into the Exif IFD, yet some writers put them into the first one: both are searched.
    found: list[Mapping[int, Any]] = []
    with contextlib.suppress(Exception):
        exif = image.getexif()
        found.append(dict(exif))
        with contextlib.suppress(Exception):
            found.append(dict(exif.get_ifd(IFD.Exif)))
    return found


def _first(ifds: list[Mapping[int, Any]], tag: int) -> Any:
    return next((ifd[tag] for ifd in ifds if tag in ifd), None)


def _orientation(ifds: list[Mapping[int, Any]]) -> int:
    value = _first(ifds, Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _taken_at(ifds: list[Mapping[int, Any]]) -> datetime | None:
    for tag in _DATE_TAGS:
        for ifd in reversed(ifds):
            moment = _date(_text(ifd.get(tag)))
            if moment is not None:
                return moment
    return None


def _date(text: str) -> datetime | None:
    for form in _DATE_FORMS:
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.strptime(text[:19], form)
    return None


def _camera(ifds: list[Mapping[int, Any]]) -> str | None:
    make, model = _text(_first(ifds, Base.Make)), _text(_first(ifds, Base.Model))
    brand = make.split(" ")[0].lower()
    name = model if brand and model.lower().startswith(brand) else f"{make} {model}"
    return name.strip()[:MAX_CAMERA_LENGTH].strip() or None


def _text(value: Any) -> str:
    # Exif allows ASCII only, writers use UTF-8, Pillow reads Latin-1.
    with contextlib.suppress(UnicodeError):
        value = value.encode("latin-1") if isinstance(value, str) else value
    with contextlib.suppress(UnicodeError):
        value = value.decode("utf-8") if isinstance(value, bytes) else value
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    # A NUL ends an EXIF string; what follows is whatever was in the camera's memory.
    value = value.split("\x00", 1)[0]
    # Categories C*: control, format, surrogate, private and unassigned characters.
    printable = "".join(" " if unicodedata.category(c).startswith("C") else c for c in value)
    return " ".join(printable.split())
