"""What every encoder promises, tested on every one that runs here."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from encoders.encoder import Encoder, NamedEncoder
from encoders.registry import make_encoder
from imaging.samples import SCENES, draw_scene
from tests.unit.encoders.tiny_model import write_tiny_model

PICTURES = [draw_scene(kind, 160 + 16 * n, 120, seed=n) for n, kind in enumerate(SCENES)]


@pytest.fixture(scope="module", params=["hashing", "filename-tags", "ViT-S-32/random", "a folder"])
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Encoder]:
    name = request.param
    if name == "a folder":
        name = str(write_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))

    def make() -> Encoder:
        encoder = make_encoder(name, device="cpu")
        encoder.load()
        return encoder

    return make


@pytest.fixture(scope="module")
def encoder(make: Callable[[], Encoder]) -> Encoder:
    return make()


def test_vectors_are_float32_of_unit_length_and_the_promised_dimension(encoder: Encoder) -> None:
    vectors = encoder.forward([encoder.prepare(picture) for picture in PICTURES])
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(PICTURES), encoder.identity.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_words_live_in_the_same_dimension_as_pictures(encoder: Encoder) -> None:
    vectors = encoder.encode_text(["a boat", "", "two dogs in the snow", "ein Boot, Жук, 犬", "x" * 5000])
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, encoder.identity.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_nothing_in_gives_nothing_of_the_right_shape(encoder: Encoder) -> None:
    assert encoder.forward([]).shape == (0, encoder.identity.dimension)
    assert encoder.encode_text([]).shape == (0, encoder.identity.dimension)


def test_a_vector_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    prepared = [encoder.prepare(picture) for picture in PICTURES]
    together = encoder.forward(prepared)
    alone = np.concatenate([encoder.forward([one]) for one in prepared])
    backwards = encoder.forward(prepared[::-1])[::-1]
    assert np.allclose(together, alone, atol=2e-5)
    assert np.allclose(together, backwards, atol=2e-5)


def test_two_encoders_of_one_name_agree(make: Callable[[], Encoder], encoder: Encoder) -> None:
    other = make()
    assert other.identity == encoder.identity
    prepared = [encoder.prepare(picture) for picture in PICTURES[:3]]
    assert np.array_equal(other.forward(prepared), encoder.forward(prepared))
    assert np.array_equal(other.encode_text(["a boat"]), encoder.encode_text(["a boat"]))


def test_prepared_images_are_8_bit_of_one_shape_and_prepare_is_safe_in_threads(encoder: Encoder) -> None:
    alone = [encoder.prepare(picture) for picture in PICTURES]
    assert {(one.dtype.name, one.shape) for one in alone} == {("uint8", alone[0].shape)}
    together: dict[int, bool] = {}

    def prepare(number: int) -> None:
        together[number] = all(
            np.array_equal(encoder.prepare(picture), one) for picture, one in zip(PICTURES, alone, strict=True)
        )

    threads = [threading.Thread(target=prepare, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == dict.fromkeys(range(4), True)


def test_a_forward_pass_leaves_its_input_alone(encoder: Encoder) -> None:
    prepared = [encoder.prepare(picture) for picture in PICTURES[:2]]
    copies = [one.copy() for one in prepared]
    encoder.forward(prepared)
    assert all(np.array_equal(one, copy) for one, copy in zip(prepared, copies, strict=True))


def test_different_pictures_have_different_vectors(encoder: Encoder) -> None:
    if isinstance(encoder, NamedEncoder):
        pytest.skip("its vectors tell names apart, not pictures")
    vectors = encoder.forward([encoder.prepare(picture) for picture in PICTURES])
    similarity = vectors @ vectors.T
    assert (similarity[~np.eye(len(PICTURES), dtype=bool)] < 0.9999).all()


def test_the_device_and_target_size_are_known(encoder: Encoder, tmp_path: Path) -> None:
    assert encoder.device == "cpu"
    assert encoder.target_size is None or encoder.target_size > 0
