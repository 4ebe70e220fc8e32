"""The model that comes with Sightline: it is small, it is open_clip's, and it finds what is shown."""

import io
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from encoders.clip import OpenClipEncoder
from encoders.encoder import Vectors
from encoders.registry import make_encoder
from imaging.sample_scenes import Pictures, counted, draw_sample_scenes
from imaging.scenes import COLOURS, Background

FOLDER = Path(__file__).parents[3] / "encoders" / "small"
SIZE = (320, 240)


@pytest.fixture(scope="module")
def small() -> OpenClipEncoder:
    encoder = make_encoder("sightline-small")
    assert isinstance(encoder, OpenClipEncoder)
    encoder.load()
    return encoder


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures()


def _vectors(encoder: OpenClipEncoder, images: list[Image.Image]) -> Vectors:
    return encoder.forward([encoder.prepare(image) for image in images])


def _photographed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return Image.open(file)


def test_it_is_small_and_its_name_is_its_own(small: OpenClipEncoder) -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 12_000_000
    assert small.identity.model == "sightline-small"
    assert small.identity.dimension == 256


def test_open_clip_alone_loads_it_and_computes_the_same(small: OpenClipEncoder, pictures: Pictures) -> None:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    model.eval()
    image = pictures.draw([("fox", 1)], Background("blue", "striped"), SIZE, seed=1)
    words = ["a picture of a fox", "two red apples on a blue background", "кошка", "猫"]
    with torch.inference_mode():
        theirs = torch.nn.functional.normalize(model.encode_image(transform(image)[None]), dim=-1).numpy()
        their_words = torch.nn.functional.normalize(model.encode_text(tokenizer(words)), dim=-1).numpy()
    assert (theirs * _vectors(small, [image])).sum() >= 0.9999
    assert ((their_words * small.encode_text(words)).sum(axis=1) >= 0.9999).all()


def test_names_find_their_pictures_on_backgrounds_never_seen(small: OpenClipEncoder, pictures: Pictures) -> None:
    random = np.random.default_rng(11)
    grounds = [Background(str(random.choice(list(COLOURS))), "checkered") for _ in pictures.names]
    images = [
        _photographed(pictures.draw([(name, 1)], ground, SIZE, seed=number))
        for number, (name, ground) in enumerate(zip(pictures.names, grounds, strict=True))
    ]
    scores = (
        small.encode_text([f"a picture of {counted(1, name)}" for name in pictures.names]) @ _vectors(small, images).T
    )
    ahead = (scores > scores.diagonal()[:, None]).sum(axis=1)
    assert (ahead < 1).mean() >= 0.7
    assert (ahead < 5).mean() >= 0.92


def test_colours_and_counts_change_the_ranking(small: OpenClipEncoder, pictures: Pictures) -> None:
    right, names = [], pictures.names[::4]
    for number, name in enumerate(names):
        shown = [
            pictures.draw([(name, count)], Background(colour, "plain"), SIZE, seed=number)
            for count, colour in ((1, "red"), (3, "red"), (1, "blue"))
        ]
        one_red, three_red, one_blue = _vectors(small, shown)
        three, blue = small.encode_text([f"{counted(3, name)} on a red background", f"{counted(1, name)} on blue"])
        right += [three @ three_red > three @ one_red, blue @ one_blue > blue @ one_red]
    assert np.mean(right) >= 0.9


def test_the_same_thing_elsewhere_is_found_by_picture(small: OpenClipEncoder, pictures: Pictures) -> None:
    gallery, queries = (
        _vectors(
            small,
            [
                pictures.draw([(name, 1)], Background(colour, pattern), SIZE, seed=seed + number)
                for number, name in enumerate(pictures.names)
            ],
        )
        for colour, pattern, seed in (("green", "wavy", 0), ("grey", "gradient", 5000))
    )
    scores = queries @ gallery.T
    assert ((scores > scores.diagonal()[:, None]).sum(axis=1) < 3).mean() >= 0.95


def test_captions_of_whole_scenes_find_their_own(small: OpenClipEncoder, tmp_path: Path) -> None:
    scenes = draw_sample_scenes(tmp_path, 120, seed=21)
    images = []
    for scene in scenes:
        with Image.open(scene.path) as image:
            images.append(image.convert("RGB"))
    scores = small.encode_text([scene.caption for scene in scenes]) @ _vectors(small, images).T
    assert ((scores > scores.diagonal()[:, None]).sum(axis=1) < 5).mean() >= 0.95


def test_words_that_it_never_heard_add_nothing(small: OpenClipEncoder) -> None:
    plain, odd = small.encode_text(["a fox", "zygomorphic a fox"])
    assert plain @ odd > 0.5
