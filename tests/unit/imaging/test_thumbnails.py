import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.ExifTags import GPS, IFD, Base

from imaging.formats import BadImage
from imaging.room import PixelRoom
from imaging.thumbnails import ThumbnailFormat, make_thumbnail
from schemas.dead_letter import RejectReason

LIMIT = 100_000_000
KINDS = list(ThumbnailFormat)


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if name == "HEIC":
        pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    else:
        image.save(buffer, name, **options)
    return buffer.getvalue()


def thumbnail(data: bytes, side: int = 64, kind: ThumbnailFormat = ThumbnailFormat.WEBP) -> Image.Image:
    made = make_thumbnail(data, side, kind, max_pixels=LIMIT)
    image = Image.open(io.BytesIO(made))
    image.load()
    assert image.format == kind.name
    return image


def colour(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place given in shares of width and height."""
    pixel = image.convert("RGB").getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))
    assert isinstance(pixel, tuple)
    return tuple(int(part) for part in pixel)


def near(seen: tuple[int, ...], wanted: tuple[int, ...], tolerance: int = 25) -> bool:
    return all(abs(one - other) <= tolerance for one, other in zip(seen, wanted, strict=True))


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    side=st.sampled_from([64, 128, 320]),
    kind=st.sampled_from(KINDS),
    name=st.sampled_from(["JPEG", "PNG"]),
)
@settings(max_examples=40, deadline=None)
def test_the_longer_side_fits_the_proportions_stay_and_nothing_is_enlarged(
    width: int, height: int, side: int, kind: ThumbnailFormat, name: str
) -> None:
    image = thumbnail(saved(Image.new("RGB", (width, height), "teal"), name), side, kind)
    assert max(image.size) == min(side, max(width, height))
    scale = max(image.size) / max(width, height)
    assert abs(image.width - width * scale) <= 1
    assert abs(image.height - height * scale) <= 1


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_upright_whatever_the_file_says(name: str, orientation: int) -> None:
    upright = Image.new("RGB", (400, 300), "white")
    upright.paste((220, 20, 20), (0, 0, 200, 150))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    data = saved(stored, name, exif=exif.tobytes() if name == "HEIC" else exif)
    image = thumbnail(data)
    assert image.size == (64, 48)
    assert near(colour(image, 0.2, 0.2), (220, 20, 20))
    assert near(colour(image, 0.8, 0.8), (255, 255, 255))


def swapped_profile() -> bytes:
    """A profile under which what a file calls red is green on a screen: sRGB with two of its columns exchanged."""
    plain = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(int.from_bytes(plain[128:132], "big")):
        at = 132 + 12 * number
        name = bytes(plain[at : at + 4])
        if name in (b"rXYZ", b"gXYZ"):
            plain[at : at + 4] = b"gXYZ" if name == b"rXYZ" else b"rXYZ"
    return bytes(plain)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_go_through_the_profile_to_srgb(name: str, mode: str) -> None:
    if name == "JPEG" and mode == "RGBA":
        return
    red = Image.new(mode, (200, 100), (255, 0, 0, 255)[: len(mode)])
    data = saved(red, name, icc_profile=swapped_profile(), **({"quality": 95} if name in ("JPEG", "WEBP") else {}))
    seen = colour(thumbnail(data), 0.5, 0.5)
    assert near(seen, (0, 255, 0), 40), "red by its numbers, green by its profile"
    assert near(colour(thumbnail(saved(red, name)), 0.5, 0.5), (255, 0, 0), 40)


@pytest.mark.parametrize(
    "profile", [b"nonsense", b"\0" * 500, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_a_profile_that_cannot_be_used_is_passed_over(profile: bytes) -> None:
    data = saved(Image.new("RGB", (100, 100), (200, 40, 40)), "PNG", icc_profile=profile)
    assert near(colour(thumbnail(data), 0.5, 0.5), (200, 40, 40))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_kept_in_webp_and_white_in_jpeg(mode: str) -> None:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    image.paste((10, 10, 10, 255), (0, 0, 100, 200))
    data = saved(image.convert("LA") if mode == "LA" else image if mode == "RGBA" else image.quantize(8), "PNG")
    webp = thumbnail(data)
    assert webp.mode == "RGBA"
    assert webp.getpixel((60, 32))[3] == 0  # type: ignore[index]
    assert webp.getpixel((5, 32))[3] == 255  # type: ignore[index]
    jpeg = thumbnail(data, kind=ThumbnailFormat.JPEG)
    assert near(colour(jpeg, 0.9, 0.5), (255, 255, 255))
    assert near(colour(jpeg, 0.1, 0.5), (10, 10, 10))


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "I", "F", "CMYK", "LAB", "P"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_mode_becomes_a_picture(mode: str, kind: ThumbnailFormat) -> None:
    grey = Image.new("L", (120, 80), 255)
    if mode == "I;16":
        image = Image.fromarray(np.full((80, 120), 65535, dtype=np.uint16))
    elif mode == "F":
        image = Image.fromarray(np.full((80, 120), 1.0, dtype=np.float32))
    elif mode == "LAB":
        image = Image.new("LAB", (120, 80), (255, 128, 128))
    elif mode == "CMYK":
        image = Image.new("CMYK", (120, 80), (0, 0, 0, 0))
    else:
        image = grey.convert(mode)
    assert near(colour(thumbnail(saved(image, "TIFF"), kind=kind), 0.5, 0.5), (255, 255, 255), 6)


def test_an_animation_shows_its_first_frame_and_stands_still() -> None:
    frames = [Image.new("RGB", (90, 90), name) for name in ("red", "lime", "blue")]
    for name in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], name, save_all=True, append_images=frames[1:], duration=100)
        image = thumbnail(data)
        assert getattr(image, "n_frames", 1) == 1
        assert near(colour(image, 0.5, 0.5), (255, 0, 0), 30)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_else_of_the_file_goes_along(kind: ThumbnailFormat) -> None:
    exif = Image.Exif()
    exif[Base.Make] = "Secret Camera"
    exif.get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] = "N"
    profile = swapped_profile()
    for name in ("JPEG", "PNG", "WEBP"):
        made = make_thumbnail(
            saved(Image.new("RGB", (100, 100)), name, exif=exif, icc_profile=profile, comment=b"hidden words"),
            64,
            kind,
            max_pixels=LIMIT,
        )
        image = Image.open(io.BytesIO(made))
        assert not dict(image.getexif())
        assert "icc_profile" not in image.info
        assert b"Secret" not in made
        assert b"hidden words" not in made


def test_what_is_no_image_or_too_large_is_refused_with_a_reason() -> None:
    whole = saved(Image.effect_noise((300, 300), 80), "JPEG")
    for data, reason in (
        (b"", RejectReason.EMPTY),
        (b"<html>", RejectReason.NOT_AN_IMAGE),
        (whole[: len(whole) // 2], RejectReason.DECODE_FAILED),
    ):
        with pytest.raises(BadImage) as caught:
            make_thumbnail(data, 64, ThumbnailFormat.JPEG, max_pixels=LIMIT)
        assert caught.value.reason is reason
    with pytest.raises(BadImage) as caught:
        make_thumbnail(whole, 64, ThumbnailFormat.JPEG, max_pixels=300 * 300 - 1)
    assert caught.value.reason is RejectReason.TOO_MANY_PIXELS


def test_a_large_jpeg_is_decoded_at_about_the_size_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    class Watched(PixelRoom):
        def taken(self, pixels: int) -> Any:
            taken.append(pixels)
            return super().taken(pixels)

    data = saved(Image.new("RGB", (4000, 3000), "olive"), "JPEG")
    make_thumbnail(data, 320, ThumbnailFormat.JPEG, max_pixels=LIMIT, room=Watched(LIMIT))
    assert taken == [1000 * 750], "a quarter: the smallest scale that leaves twice what is shown"


def test_threads_may_make_them_at_once() -> None:
    datas = [saved(Image.new("RGB", (300, 200), (n, n, n)), "PNG", icc_profile=swapped_profile()) for n in range(40)]
    room = PixelRoom(100_000)
    with ThreadPoolExecutor(8) as threads:
        made = list(
            threads.map(lambda data: make_thumbnail(data, 64, ThumbnailFormat.WEBP, max_pixels=LIMIT, room=room), datas)
        )
    alone = [make_thumbnail(data, 64, ThumbnailFormat.WEBP, max_pixels=LIMIT) for data in datas]
    assert made == alone
