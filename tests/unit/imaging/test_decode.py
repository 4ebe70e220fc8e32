import contextlib
import io
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from imaging.decode import BadImage, decode, open_image
from imaging.formats import ALLOWED
from schemas.dead_letter import RejectReason

LIMIT = 100_000_000
CORNERS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
PILLOW_NAMES = {name: name.upper() for name in ALLOWED}
SAVE_OPTIONS: dict[str, dict[str, Any]] = {"jpeg": {"quality": 95, "subsampling": 0}, "webp": {"quality": 95}}


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Red and green above blue and white, so that every orientation looks different."""
    image = Image.new("RGB", (width, height), CORNERS["red"])
    half = (width // 2, height // 2)
    image.paste(CORNERS["green"], (half[0], 0, width, half[1]))
    image.paste(CORNERS["blue"], (0, half[1], half[0], height))
    image.paste(CORNERS["white"], (half[0], half[1], width, height))
    return image


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if name == "heic":
        heif = pillow_heif.from_pillow(image)
        heif.save(buffer, quality=95, chroma=444, **options)
    else:
        image.save(buffer, PILLOW_NAMES[name], **SAVE_OPTIONS.get(name, {}) | options)
    return buffer.getvalue()


def with_orientation(image: Image.Image, name: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    if name == "heic":
        return saved(image, name, exif=exif.tobytes())
    if name == "tiff":
        return saved(image, name, tiffinfo={Base.Orientation: orientation})
    return saved(image, name, exif=exif.tobytes())


def pixels(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image).astype(np.int16)


def near(image: Image.Image, expected: Image.Image, tolerance: float = 6.0) -> bool:
    return image.size == expected.size and float(np.abs(pixels(image) - pixels(expected)).mean()) < tolerance


def rejection(data: bytes, max_pixels: int = LIMIT) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, max_pixels=max_pixels)
    return caught.value


# What is decoded


@pytest.mark.parametrize("name", ALLOWED)
def test_every_allowed_format_is_decoded_and_named(name: str) -> None:
    decoded = decode(saved(quarters(), name), max_pixels=LIMIT)
    assert decoded.facts.format == name
    assert (decoded.facts.width, decoded.facts.height) == (64, 48)
    assert decoded.image.mode == "RGB"
    assert near(decoded.image, quarters(), tolerance=25 if name == "gif" else 6)


# What turns an upright picture into the stored one, for each orientation: the inverse of what a viewer does.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif", "heic"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright_with_upright_size(name: str, orientation: int) -> None:
    method = STORED[orientation]
    stored = quarters() if method is None else quarters().transpose(method)
    decoded = decode(with_orientation(stored, name, orientation), max_pixels=LIMIT)
    assert (decoded.facts.width, decoded.facts.height) == (64, 48)
    assert near(decoded.image, quarters())


@given(
    name=st.sampled_from(["png", "tiff", "webp"]),
    orientation=st.integers(1, 8),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_lossless_pictures_of_any_size_keep_every_pixel_in_any_orientation(
    name: str, orientation: int, width: int, height: int, seed: int
) -> None:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(array)
    method = STORED[orientation]
    stored = picture if method is None else picture.transpose(method)
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    options: dict[str, Any] = {"exif": exif.tobytes()}
    if name == "tiff":
        options = {"tiffinfo": {Base.Orientation: orientation}, "compression": "tiff_lzw"}
    if name == "webp":
        options |= {"lossless": True, "exact": True}
    decoded = decode(saved(stored, name, **options), max_pixels=LIMIT)
    assert (decoded.facts.width, decoded.facts.height) == (width, height)
    assert np.array_equal(np.asarray(decoded.image), array)


def test_transparency_is_shown_on_white_paper() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((200, 0, 0, 128), (4, 0, 8, 8))
    decoded = decode(saved(image, "png"), max_pixels=LIMIT).image
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((6, 0)) == pytest.approx((227, 127, 127), abs=2)


def test_grey_with_alpha_palette_with_alpha_and_a_colour_key_are_shown_on_white_paper() -> None:
    grey = Image.new("LA", (4, 4), (0, 0))
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    for data in (
        saved(grey, "png"),
        saved(palette, "png", transparency=0),
        saved(palette, "gif", transparency=0),
        saved(keyed, "png", transparency=(1, 2, 3)),
    ):
        assert decode(data, max_pixels=LIMIT).image.getpixel((1, 1)) == (255, 255, 255)


def test_an_opaque_palette_shows_its_colours() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    assert decode(saved(palette, "png"), max_pixels=LIMIT).image.getpixel((1, 1)) == (10, 200, 30)


def test_black_and_white_is_black_and_white() -> None:
    image = Image.new("1", (8, 8), 0)
    image.paste(1, (4, 0, 8, 8))
    decoded = decode(saved(image, "tiff", compression="group4"), max_pixels=LIMIT).image
    assert decoded.getpixel((0, 0)) == (0, 0, 0)
    assert decoded.getpixel((7, 0)) == (255, 255, 255)


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_sixteen_bit_grey_spans_black_to_white(name: str) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None, :].repeat(4, axis=0)
    decoded = decode(saved(Image.fromarray(ramp), name), max_pixels=LIMIT).image
    assert np.array_equal(np.asarray(decoded)[0, :, 0], np.arange(256))


def test_sixteen_bit_colour_png_keeps_the_high_byte() -> None:
    pixel = struct.pack(">3H", 0xFF00, 0x8000, 0x0100)
    raw = b"".join(b"\x00" + pixel * 2 for _ in range(2))
    data = png(2, 2, bits=16, colour=2, body=zlib.compress(raw))
    assert decode(data, max_pixels=LIMIT).image.getpixel((0, 0)) == pytest.approx((255, 128, 1), abs=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([float("nan"), 0.5, float("inf")], [0, 128, 128]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
        ([float("nan")] * 3, [0, 0, 0]),
    ],
)
def test_float_pictures_are_scaled_by_the_range_that_their_values_show(
    values: list[float], expected: list[int]
) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    decoded = decode(saved(image, "tiff"), max_pixels=LIMIT).image
    assert np.asarray(decoded)[0, :, 0].tolist() == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("high", "expected"), [(200, 200), (51400, 200), (2**31 - 1, 255)])
def test_integer_pictures_are_scaled_by_the_range_that_their_values_show(high: int, expected: int) -> None:
    image = Image.fromarray(np.array([[0, high]], dtype=np.int32))
    decoded = decode(saved(image, "tiff"), max_pixels=LIMIT).image
    assert np.asarray(decoded)[0, :, 0].tolist() == pytest.approx([0, expected], abs=1)


def test_cmyk_jpegs_with_and_without_adobes_marker_show_the_same_colours() -> None:
    # Adobe stores ink inverted and says so in APP14; without the marker ink is stored as it is.
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    adobe = saved(ink, "jpeg")
    at = adobe.index(b"\xff\xee")
    length = int.from_bytes(adobe[at + 2 : at + 4], "big")
    plain_ink = Image.new("CMYK", (16, 16), (255, 0, 0, 255))
    inverted = saved(plain_ink, "jpeg")
    plain = inverted[:at] + inverted[at + 2 + length :]
    for data in (adobe, plain, saved(ink, "tiff")):
        red, green, blue = np.asarray(decode(data, max_pixels=LIMIT).image)[8, 8].tolist()
        assert red > 230
        assert green < 25
        assert blue < 25


def test_lab_pictures_come_out_in_their_colours() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.applyTransform(quarters(), ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    assert image is not None
    assert near(decode(saved(image, "tiff"), max_pixels=LIMIT).image, quarters())


@pytest.mark.parametrize("name", ["gif", "png", "webp", "tiff", "avif"])
def test_animations_are_judged_by_their_first_frame(name: str) -> None:
    rest = [Image.new("RGB", (64, 48), "black"), Image.new("RGB", (64, 48), "blue")]
    decoded = decode(saved(quarters(), name, save_all=True, append_images=rest), max_pixels=LIMIT)
    assert near(decoded.image, quarters(), tolerance=25)


def test_an_mpo_of_a_phone_is_a_jpeg() -> None:
    buffer = io.BytesIO()
    quarters().save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))], quality=95)
    decoded = decode(buffer.getvalue(), max_pixels=LIMIT, at_least=4)
    assert decoded.facts.format == "jpeg"
    assert (decoded.facts.width, decoded.facts.height) == (64, 48)


# Reduced scale


@given(
    width=st.integers(8, 900), height=st.integers(8, 900), at_least=st.integers(1, 300), orientation=st.integers(1, 8)
)
def test_a_reduced_jpeg_keeps_twice_the_target_on_its_short_side_and_its_full_size_in_the_facts(
    width: int, height: int, at_least: int, orientation: int
) -> None:
    data = with_orientation(Image.new("RGB", (width, height), "olive"), "jpeg", orientation)
    decoded = decode(data, max_pixels=LIMIT, at_least=at_least)
    upright = (width, height) if orientation < 5 else (height, width)
    assert (decoded.facts.width, decoded.facts.height) == upright
    short = min(decoded.image.size)
    assert short >= min(2 * at_least, width, height)
    scale = max(scale for scale in (8, 4, 2, 1) if scale == 1 or min(width, height) // scale >= 2 * at_least)
    assert short == -(-min(width, height) // scale)


def test_the_reduced_picture_looks_like_the_full_one() -> None:
    data = saved(quarters(1600, 1200), "jpeg")
    full = decode(data, max_pixels=LIMIT).image
    reduced = decode(data, max_pixels=LIMIT, at_least=64).image
    assert full.size == (1600, 1200)
    assert reduced.size == (200, 150)
    assert near(reduced, full.resize(reduced.size, Image.Resampling.BOX), tolerance=2)


def test_only_jpegs_are_reduced() -> None:
    data = saved(quarters(640, 480), "png")
    assert decode(data, max_pixels=LIMIT, at_least=16).image.size == (640, 480)


def test_the_header_tells_how_many_pixels_will_be_decoded() -> None:
    data = saved(quarters(640, 480), "jpeg")
    assert open_image(data, max_pixels=LIMIT).pixels == 640 * 480
    reduced = open_image(data, max_pixels=LIMIT, at_least=60)
    assert reduced.pixels == 160 * 120
    assert (reduced.width, reduced.height) == (640, 480)


# What is refused


def test_no_bytes_are_empty() -> None:
    assert rejection(b"").reason is RejectReason.EMPTY


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html><body>404", "an HTML page"),
        (b"\xef\xbb\xbf  <html>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code>', "XML"),
        (b'{"error": "no"}', "JSON"),
        (b"BM is how this letter begins", "text beginning 'bm is how"),
        (b"hello", "text beginning 'hello'"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "a video"),
        (bytes(4096), "nothing but zero bytes"),
        (b"\x01\x02\x03\x04\x05", "unknown binary data beginning 01 02 03"),
    ],
)
def test_what_is_no_image_is_refused_with_what_it_looks_like(data: bytes, words: str) -> None:
    bad = rejection(data)
    assert bad.reason is RejectReason.NOT_AN_IMAGE
    assert words in bad.detail


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"8BPS\x00\x01", "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b'<?xml version="1.0"?>\n<!-- made -->\n<svg width="1">', "SVG"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "Canon raw"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom", "Canon raw"),
        (b"P6\n2 2\n255\n", "Netpbm"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_known_formats_outside_the_list_are_unsupported_by_name(data: bytes, words: str) -> None:
    bad = rejection(data)
    assert bad.reason is RejectReason.UNSUPPORTED_FORMAT
    assert words in bad.detail
    assert "jpeg" in bad.detail


def test_the_extension_and_the_plugins_of_pillow_cannot_widen_the_list() -> None:
    buffer = io.BytesIO()
    quarters().save(buffer, "TGA")
    assert rejection(buffer.getvalue()).reason is RejectReason.UNSUPPORTED_FORMAT


def png(width: int, height: int, *, bits: int, colour: int, body: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header_and_costs_almost_no_memory() -> None:
    bomb = png(20_000, 10_000, bits=8, colour=2, body=zlib.compress(bytes(10_000_000), 9))
    tracemalloc.start()
    try:
        bad = rejection(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bad.reason is RejectReason.TOO_MANY_PIXELS
    assert "20000 x 10000" in bad.detail
    assert peak < 2_000_000


@pytest.mark.parametrize("name", ALLOWED)
def test_every_format_is_held_to_the_pixel_limit_before_decoding(name: str) -> None:
    data = saved(quarters(64, 48), name)
    assert rejection(data, max_pixels=64 * 48 - 1).reason is RejectReason.TOO_MANY_PIXELS
    with pytest.raises(BadImage):
        open_image(data, max_pixels=64 * 48 - 1)
    decode(data, max_pixels=64 * 48)


@pytest.mark.parametrize("name", ["png", "tiff", "jpeg"])
def test_pillows_own_limit_neither_warns_nor_refuses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = saved(quarters(64, 48), name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(data, max_pixels=LIMIT)


@pytest.mark.parametrize("name", ALLOWED)
def test_a_truncated_file_is_a_failed_decode_that_names_the_format(name: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    data = saved(noise, name)
    bad = rejection(data[: len(data) // 2])
    assert bad.reason is RejectReason.DECODE_FAILED
    assert bad.detail.startswith(name)


@pytest.mark.parametrize("at_least", [None, 8])
def test_a_truncated_jpeg_fails_at_full_and_at_reduced_scale(at_least: int | None) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    for options in ({}, {"progressive": True}):
        data = saved(noise, "jpeg", quality=60, **options)
        with pytest.raises(BadImage) as caught:
            decode(data[: len(data) * 2 // 3], max_pixels=LIMIT, at_least=at_least)
        assert caught.value.reason is RejectReason.DECODE_FAILED


STARTS = [saved(quarters(16, 12), name)[:60] for name in ALLOWED]


@given(start=st.sampled_from([b"", *STARTS]), rest=st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_bad_image(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(BadImage):
        decode(start + rest, max_pixels=1_000_000)


WHOLE = [saved(quarters(16, 12), name) for name in ALLOWED]


@given(data=st.data())
def test_flipped_and_cut_bytes_raise_nothing_but_bad_image(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(WHOLE)))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=6)):
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(raw)))
    with contextlib.suppress(BadImage):
        decoded = decode(bytes(raw[:cut]), max_pixels=1_000_000, at_least=data.draw(st.sampled_from([None, 4])))
        assert decoded.image.mode == "RGB"


def test_running_out_of_memory_in_a_codec_is_that_images_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: Image.Image) -> None:
        raise MemoryError

    opened = open_image(saved(quarters(), "png"), max_pixels=LIMIT)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", exhausted)
    with pytest.raises(BadImage) as caught:
        opened.decode()
    assert caught.value.reason is RejectReason.DECODE_FAILED
    assert "MemoryError" in caught.value.detail


# Metadata


def exif_jpeg(first: Mapping[int, Any], second: dict[int, Any] | None = None) -> bytes:
    exif = Image.Exif()
    for tag, value in first.items():
        exif[tag] = value
    if second:
        exif.get_ifd(IFD.Exif).update(second)
    return saved(quarters(), "jpeg", exif=exif.tobytes())


def test_the_original_date_comes_before_the_digitised_and_the_changed_one_in_either_ifd() -> None:
    original, digitised, changed = (f"20{n}:05:06 07:08:09" for n in (10, 11, 12))
    cases = [
        (exif_jpeg({Base.DateTime: changed}, {Base.DateTimeOriginal: original}), 2010),
        (exif_jpeg({Base.DateTimeOriginal: original, Base.DateTime: changed}), 2010),
        (exif_jpeg({Base.DateTime: changed}, {Base.DateTimeDigitized: digitised}), 2011),
        (exif_jpeg({Base.DateTime: changed}), 2012),
        (exif_jpeg({Base.DateTime: changed}, {Base.DateTimeOriginal: "0000:00:00 00:00:00"}), 2012),
    ]
    for data, year in cases:
        assert decode(data, max_pixels=LIMIT).facts.taken_at == datetime(year, 5, 6, 7, 8, 9)


@pytest.mark.parametrize("text", ["", "    :  :     :  :  ", "yesterday", "2021:13:45 00:00:00", "\x00\x00"])
def test_a_date_that_is_none_is_left_out(text: str) -> None:
    assert decode(exif_jpeg({Base.DateTime: text}), max_pixels=LIMIT).facts.taken_at is None


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Sony\x00garbage", " DSC-W830  ", "Sony DSC-W830"),
        ("", "Lone Model", "Lone Model"),
        ("Lone Make", "", "Lone Make"),
        ("Evil\x1b[31m\r\nCorp", "X\u202e1", "Evil [31m Corp X 1"),
        ("", "", None),
    ],
)
def test_the_camera_is_make_and_model_without_repetition_or_control_characters(
    make: str, model: str, camera: str | None
) -> None:
    exif: dict[int, Any] = {Base.Make: make.encode(), Base.Model: model.encode()}
    assert decode(exif_jpeg(exif), max_pixels=LIMIT).facts.camera == camera


def test_a_very_long_camera_is_cut() -> None:
    camera = decode(exif_jpeg({Base.Make: "x" * 5000}), max_pixels=LIMIT).facts.camera
    assert camera is not None
    assert len(camera) <= 80


@given(garbage=st.binary(max_size=200))
def test_garbage_exif_is_ignored(garbage: bytes) -> None:
    for prefix in (b"", b"Exif\x00\x00", b"Exif\x00\x00II*\x00\x08\x00\x00\x00", b"Exif\x00\x00MM\x00*"):
        data = saved(quarters(), "jpeg", exif=prefix + garbage)
        facts = decode(data, max_pixels=LIMIT).facts
        assert sorted((facts.width, facts.height)) == [48, 64]


# Threads


def test_many_threads_decode_at_once_with_the_results_of_one() -> None:
    files = [with_orientation(quarters(300 + n, 200), name, n % 8 + 1) for n, name in enumerate(["jpeg", "png"] * 20)]
    alone = [np.asarray(decode(data, max_pixels=LIMIT, at_least=32).image) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: np.asarray(decode(data, max_pixels=LIMIT, at_least=32).image), files))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
