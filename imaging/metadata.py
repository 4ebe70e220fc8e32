"""What EXIF says of a picture: orientation, date, camera and place.

Cameras, phones and editors write much that is wrong. Whatever cannot be read is left out; nothing here raises.
Tags and their forms: Exif 3.0 (CIPA DC-008-2023).
"""

import contextlib
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from numbers import Real
from typing import Any

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from schemas.events import Location

MAX_CAMERA_LENGTH = 80
"""Characters; the longest real "Make Model" are about 50."""

_DATE_TAGS = (Base.DateTimeOriginal, Base.DateTimeDigitized, Base.DateTime)
_DATE_FORMS = ("%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y:%m:%d %H:%M", "%Y:%m:%d")


@dataclass(frozen=True)
class Metadata:
    """`orientation` is how the pixels lie now, `stored_orientation` what the file holds, 1 to 8 as EXIF counts.

    They differ where the plugin has turned the image already. `taken_at` has no time zone, since the camera's clock
    knows none.
    """

    orientation: int = 1
    stored_orientation: int | None = None
    taken_at: datetime | None = None
    camera: str | None = None
    location: Location | None = None


def read_metadata(image: Image.Image) -> Metadata:
    """The metadata of an image. What is missing or garbage is left out; never raises.

    A PNG must have been loaded, since its EXIF may follow its pixels.
    """
    ifds = _ifds(image)
    orientation = _orientation(_first(ifds, Base.Orientation))
    return Metadata(
        orientation or 1,
        # The plugin for HEIC turns the image and keeps what it found.
        _orientation(image.info.get("original_orientation")) or orientation,
        _taken_at(ifds),
        _camera(ifds),
        _location(image),
    )


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


def _orientation(value: Any) -> int | None:
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def _taken_at(ifds: list[Mapping[int, Any]]) -> datetime | None:
    for tag in _DATE_TAGS:
        for ifd in reversed(ifds):
            moment = _date(plain_text(ifd.get(tag)))
            if moment is not None:
                return moment
    return None


def _date(text: str) -> datetime | None:
    for form in _DATE_FORMS:
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.strptime(text[:19], form)
    return None


def _camera(ifds: list[Mapping[int, Any]]) -> str | None:
    make, model = plain_text(_first(ifds, Base.Make)), plain_text(_first(ifds, Base.Model))
    brand = make.split(" ")[0].lower()
    name = model if brand and model.lower().startswith(brand) else f"{make} {model}"
    return name.strip()[:MAX_CAMERA_LENGTH].strip() or None


def _location(image: Image.Image) -> Location | None:
    gps: Mapping[int, Any] = {}
    with contextlib.suppress(Exception):
        gps = dict(image.getexif().get_ifd(IFD.GPSInfo))
    lat = _degrees(gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef), "NS", 90)
    lon = _degrees(gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef), "EW", 180)
    # Receivers without a fix write zeros; another datum would be off by up to several hundred metres.
    if lat is None or lon is None or lat == lon == 0 or not _is_wgs84(plain_text(gps.get(GPS.GPSMapDatum))):
        return None
    return Location(lat=lat, lon=lon)


def _is_wgs84(datum: str) -> bool:
    name = "".join(c for c in datum.upper() if c.isalnum())
    return not name or name.startswith("WGS84")


def _degrees(parts: Any, reference: Any, signs: str, most: int) -> float | None:
    """Degrees, minutes and seconds as signed decimal degrees. Without a hemisphere they name four places: None."""
    hemisphere = plain_text(reference)[:1].upper()
    parts = parts if isinstance(parts, tuple | list) else (parts,)
    if not hemisphere or hemisphere not in signs or not 1 <= len(parts) <= 3:
        return None
    degrees = 0.0
    for part, unit, limit in zip(parts, (1, 60, 3600), (most, 60, 60), strict=False):
        # A denominator of zero becomes NaN.
        number = float(part) if isinstance(part, Real) else math.nan
        if not 0 <= number <= limit:
            return None
        degrees += number / unit
    if degrees > most:
        return None
    return degrees if hemisphere == signs[0] else -degrees


def plain_text(value: Any) -> str:
    """What a text field of metadata says, printable and on one line; empty for what is no text."""
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
