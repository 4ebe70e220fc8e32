"""Orientation and place as EXIF holds them, in every format, from every kind of garbage."""

import io
import struct
from typing import Any

import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from imaging.decode import decode
from schemas.events import ImageFacts, Location

LIMIT = 1_000_000
SIZE = (16, 12)
ORIENTED = ["jpeg", "png", "webp", "tiff", "avif", "heic"]

JUNGFRAUJOCH: dict[int, Any] = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (46.0, 32.0, 51.0),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (7.0, 59.0, 6.0),
}


def picture(name: str, exif: Image.Exif) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", SIZE, "red")
    if name == "heic":
        pillow_heif.from_pillow(image).save(buffer, exif=exif.tobytes())
    else:
        image.save(buffer, name, exif=exif.tobytes())
    return buffer.getvalue()


def facts(data: bytes) -> ImageFacts:
    return decode(data, max_pixels=LIMIT).facts


def with_gps(changes: dict[int, Any] | None = None) -> bytes:
    exif = Image.Exif()
    fields = {**JUNGFRAUJOCH, **(changes or {})}
    exif.get_ifd(IFD.GPSInfo).update({tag: value for tag, value in fields.items() if value is not None})
    return picture("jpeg", exif)


@pytest.mark.parametrize("name", ORIENTED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_the_files_and_the_size_that_of_the_upright_picture(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    found = facts(picture(name, exif))
    # AVIF has no word for upright: Pillow writes none.
    assert found.orientation == (None if (name, orientation) == ("avif", 1) else orientation)
    assert (found.width, found.height) == (SIZE if orientation < 5 else SIZE[::-1])


@pytest.mark.parametrize("name", [*ORIENTED, "gif", "bmp"])
def test_a_file_that_says_nothing_of_its_orientation_has_none(name: str) -> None:
    buffer = io.BytesIO()
    if name == "heic":
        data = picture(name, Image.Exif())
    else:
        Image.new("RGB", SIZE, "red").save(buffer, name)
        data = buffer.getvalue()
    assert facts(data).orientation is None


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    assert facts(picture("jpeg", exif)).orientation is None


@pytest.mark.parametrize("name", ORIENTED)
def test_the_place_is_read_in_decimal_degrees(name: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(IFD.GPSInfo).update(JUNGFRAUJOCH)
    place = facts(picture(name, exif)).location
    assert place is not None
    assert (place.lat, place.lon) == pytest.approx((46.5475, 7.985), abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "W"}, (-46.5475, -7.985)),
        ({GPS.GPSLatitudeRef: "s", GPS.GPSLongitudeRef: "West"}, (-46.5475, -7.985)),
        ({GPS.GPSLatitude: (46.5475,), GPS.GPSLongitude: (7.0, 59.1)}, (46.5475, 7.985)),
        ({GPS.GPSLatitude: (90.0, 0.0, 0.0), GPS.GPSLongitude: (180.0, 0.0, 0.0)}, (90.0, 180.0)),
        ({GPS.GPSLatitude: (0.0, 0.0, 0.0)}, (0.0, 7.985)),
        ({GPS.GPSMapDatum: "WGS-84"}, (46.5475, 7.985)),
        ({GPS.GPSMapDatum: ""}, (46.5475, 7.985)),
    ],
)
def test_other_forms_of_a_place(changes: dict[int, Any], place: tuple[float, float]) -> None:
    found = facts(with_gps(changes)).location
    assert found is not None
    assert (found.lat, found.lon) == pytest.approx(place, abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {GPS.GPSLatitudeRef: None},
        {GPS.GPSLatitudeRef: "X"},
        {GPS.GPSLongitudeRef: ""},
        {GPS.GPSLongitude: None},
        {GPS.GPSLatitude: (90.0, 0.0, 1.0)},
        {GPS.GPSLongitude: (181.0, 0.0, 0.0)},
        {GPS.GPSLongitude: (7.0, 61.0, 0.0)},
        {GPS.GPSLongitude: (7.0, 1.0, 2.0, 3.0)},
        {GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)},
        {GPS.GPSMapDatum: "TOKYO"},
    ],
)
def test_half_a_place_and_an_impossible_one_are_left_out(changes: dict[int, Any]) -> None:
    assert facts(with_gps(changes)).location is None


# EXIF by hand, since Pillow writes only what is right

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of each EXIF type by its number."""


def directory(entries: list[tuple[int, int, int, bytes]], at: int) -> bytes:
    """An IFD at an offset: tag, type, count and raw value of each entry; what is longer than four bytes follows it."""
    head, tail = struct.pack("<H", len(entries)), b""
    beyond = at + 2 + 12 * len(entries) + 4
    for tag, kind, count, raw in entries:
        if len(raw) > 4:
            raw, tail = struct.pack("<I", beyond + len(tail)), tail + raw
        head += struct.pack("<HHI", tag, kind, count) + raw.ljust(4, b"\0")
    return head + struct.pack("<I", 0) + tail


def jpeg_with(gps: list[tuple[int, int, int, bytes]], first: list[tuple[int, int, int, bytes]]) -> bytes:
    main = directory([*first, (IFD.GPSInfo, 4, 1, b"\0\0\0\0")], 8)
    start = 8 + len(main)
    main = directory([*first, (IFD.GPSInfo, 4, 1, struct.pack("<I", start))], 8)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + main + directory(gps, start)
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, "red").save(buffer, "jpeg", exif=exif)
    return buffer.getvalue()


def rationals(*parts: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<II", *part) for part in parts)


def placed(latitude: bytes, count: int = 3) -> bytes:
    return jpeg_with(
        [
            (GPS.GPSLatitudeRef, 2, 2, b"N\0"),
            (GPS.GPSLatitude, 5, count, latitude),
            (GPS.GPSLongitudeRef, 2, 2, b"E\0"),
            (GPS.GPSLongitude, 5, 3, rationals((7, 1), (59, 1), (6, 1))),
        ],
        [],
    )


def test_a_denominator_of_zero_loses_the_place_and_not_the_picture() -> None:
    assert facts(placed(rationals((46, 1), (32, 1), (51, 1)))).location == Location(
        lat=46 + 32 / 60 + 51 / 3600, lon=7 + 59 / 60 + 6 / 3600
    )
    for broken in (rationals((46, 0), (32, 1), (51, 1)), rationals((46, 1), (32, 1), (0, 0))):
        assert facts(placed(broken)).location is None


@st.composite
def entries(draw: st.DrawFn, tags: list[int]) -> tuple[int, int, int, bytes]:
    tag = draw(st.sampled_from(tags) | st.integers(0, 65535))
    kind = draw(st.sampled_from(list(SIZES)) | st.integers(0, 65535))
    count = draw(st.integers(0, 4) | st.integers(0, 2**32 - 1))
    size = min(64, SIZES.get(kind, 1) * count)
    return tag, kind, count, draw(st.binary(min_size=size, max_size=size))


@given(
    gps=st.lists(entries([*JUNGFRAUJOCH, GPS.GPSMapDatum]), max_size=6),
    first=st.lists(entries([Base.Orientation, Base.Make, Base.Model, Base.DateTime, IFD.Exif]), max_size=5),
)
def test_no_exif_rejects_a_picture_or_puts_it_outside_the_world(
    gps: list[tuple[int, int, int, bytes]], first: list[tuple[int, int, int, bytes]]
) -> None:
    found = facts(jpeg_with(gps, first))
    assert sorted((found.width, found.height)) == sorted(SIZE)
    assert found.orientation in {None, *range(1, 9)}
    if found.location is not None:
        assert -90 <= found.location.lat <= 90
        assert -180 <= found.location.lon <= 180


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 3)), min_size=1, max_size=4))
def test_any_rationals_are_a_place_on_earth_or_none(parts: list[tuple[int, int]]) -> None:
    place = facts(placed(rationals(*parts), len(parts))).location
    if place is None:
        return
    assert all(denominator for _, denominator in parts)
    expected = sum(n / d / unit for (n, d), unit in zip(parts, (1, 60, 3600), strict=False))
    assert place.lat == pytest.approx(expected)
