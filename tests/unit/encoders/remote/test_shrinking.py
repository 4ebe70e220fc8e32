import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.remote.shrinking import LONGEST, shrunk
from imaging.decode import decode
from imaging.samples import draw_scene


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    side=st.integers(32, 400),
    max_bytes=st.integers(2000, 60_000),
    noisy=st.booleans(),
)
def test_it_is_a_jpeg_under_the_limit_of_the_same_shape(
    width: int, height: int, side: int, max_bytes: int, noisy: bool
) -> None:
    image = noise(width, height) if noisy else Image.new("RGB", (width, height), (200, 30, 90))
    data = shrunk(image, side=side, max_bytes=max_bytes)
    assert len(data) <= max_bytes
    result = opened(data)
    assert result.format == "JPEG"
    assert min(result.size) <= side
    assert max(result.size) <= LONGEST * side
    # Rounding to whole pixels may move a side by one half at each step.
    assert abs(result.width / width - result.height / height) <= 8 / min(width, height, *result.size)


def test_a_small_picture_keeps_every_pixel() -> None:
    image = draw_scene("sea", 300, 200, 3)
    result = opened(shrunk(image, side=512, max_bytes=180_000))
    assert result.size == (300, 200)
    assert np.abs(np.asarray(result).astype(int) - np.asarray(image)).mean() < 6


def test_pixels_go_before_quality() -> None:
    photo = draw_scene("sea", 300, 200, 1).resize((3000, 2000))
    result = opened(shrunk(photo, side=512, max_bytes=180_000))
    assert result.size == (768, 512)


def test_noise_comes_under_the_least_limit_that_can_be_set() -> None:
    assert len(shrunk(noise(900, 700), side=4096, max_bytes=8192)) <= 8192


@pytest.mark.parametrize("size", [(1, 1), (60_000, 2), (2, 60_000)])
def test_extreme_shapes_are_sent_too(size: tuple[int, int]) -> None:
    data = shrunk(Image.new("RGB", size, (1, 2, 3)), side=64, max_bytes=8192)
    assert min(opened(data).size) >= 1


def test_where_and_by_whom_a_picture_was_taken_is_not_sent() -> None:
    image = draw_scene("sky", 400, 300, 1)
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    exif[0x010F] = "SECRETCAMERA"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, comment=b"SECRETCOMMENT", icc_profile=b"SECRETPROFILE" * 9)
    decoded = decode(buffer.getvalue(), max_pixels=10**8).image
    data = shrunk(decoded, side=512, max_bytes=180_000)
    assert b"SECRET" not in data
    assert b"Exif" not in data
    assert not opened(data).getexif()
