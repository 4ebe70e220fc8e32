import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from encoders.encoder import Vectors
from encoders.hashing import HashingEncoder
from imaging.decode import decode
from imaging.samples import SCENES, draw_scene

ENCODER = HashingEncoder()
KINDS = tuple(SCENES)


def vectors_of(*pictures: Image.Image) -> Vectors:
    return ENCODER.forward([ENCODER.prepare(picture) for picture in pictures])


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return decode(buffer.getvalue(), max_pixels=10**8, at_least=ENCODER.target_size).image


@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10_000),
    quality=st.integers(40, 95),
    width=st.integers(150, 900),
    height=st.integers(150, 900),
)
def test_the_same_picture_compressed_and_resized_stays_near(
    kind: str, seed: int, quality: int, width: int, height: int
) -> None:
    picture = draw_scene(kind, 320, 240, seed)
    first, second, third = vectors_of(
        picture, compressed(picture, quality), picture.resize((width, height), Image.Resampling.LANCZOS)
    )
    assert first @ second > 0.95
    assert first @ third > 0.95


def test_unrelated_pictures_are_about_orthogonal_and_a_picture_finds_its_copy() -> None:
    pictures = [draw_scene(KINDS[n % len(KINDS)], 320, 240, seed=n) for n in range(160)]
    vectors = vectors_of(*pictures)
    similarity = vectors @ vectors.T
    kinds = np.arange(160) % len(KINDS)
    unrelated = similarity[kinds[:, None] != kinds[None, :]]
    assert abs(np.median(unrelated)) < 0.15
    assert np.percentile(unrelated, 95) < 0.6
    copies = vectors_of(*(compressed(picture, 50) for picture in pictures))
    assert (np.argmax(copies @ vectors.T, axis=1) == np.arange(160)).all()


def test_plain_pictures_have_vectors_too_told_apart_by_colour() -> None:
    grey, red, blue, black = vectors_of(
        *(Image.new("RGB", (50, 50), colour) for colour in ["#808080", "red", "blue", "black"])
    )
    assert red @ blue < 0.5
    assert grey @ red < 0.5
    assert black @ red < 0.9


def test_texts_that_share_words_are_nearer_than_those_that_do_not() -> None:
    red_boat, boat_red, boats, dog = ENCODER.encode_text(["a red boat", "Boat, red: a!", "red boats", "seventeen dogs"])
    assert red_boat @ boat_red > 0.999
    assert red_boat @ boats > 0.3 > abs(red_boat @ dog)


def test_the_vectors_of_this_revision_never_move() -> None:
    # Stored vectors outlive releases: whatever changes these numbers must raise the revision, and so the fingerprint.
    picture = Image.new("RGB", (64, 64), (200, 30, 60))
    picture.paste((20, 90, 200), (0, 0, 32, 64))
    assert HashingEncoder.identity.fingerprint == "838683488f5c-c1cd014aff30-float32"
    expected = [0.0156765, -0.0942826, 0.0292390, -0.0298508]
    assert np.allclose(vectors_of(picture)[0][:4], expected, atol=1e-4)
    assert ENCODER.encode_text(["boat"])[0].nonzero()[0].tolist() == [0, 62, 85, 119, 120, 121]
