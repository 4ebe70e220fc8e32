"""Every family's vectors against open_clip's own straight path, on real architectures and the world's odd images.

The weights are random and lie where the hub's client would have put them, so that each model is found, loaded and
preprocessed as users have it: by its name. Vectors are compared as they are, and without the mean that all share, which
would hide differences.
"""

import gc
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from encoders.encoder import Encoder
from encoders.presence import look_up
from encoders.registry import make_encoder
from imaging.decode import decode
from tests.repository.files import ROOT
from tests.unit.encoders.hub import Hub
from tests.unit.encoders.odd_images import OddImage, odd_images
from tests.unit.encoders.stand_in_tokenizer import tokenizer_files

TEXTS = ["a red boat", "", "Two dogs & a CAT, in the snow!", "ein Boot, Жук, 犬", "many words " * 60, "a"]
SCALE, BIAS = 87.5, -13.25
FAITHFUL = 0.9999
TOGETHER = 8

# Making and loading hundreds of millions of weights takes a minute where others want the processors too.
pytestmark = pytest.mark.timeout(3000)


@dataclass(frozen=True)
class Pair:
    """The same model twice."""

    ours: Encoder
    theirs: Any
    preprocess: Callable[[Any], torch.Tensor]
    tokenize: Callable[[list[str]], torch.Tensor]


FAST = ["ViT-B-32/laion2b_s34b_b79k", "ViT-B-16-SigLIP2-256/webli"]
SLOW = [
    "ViT-B-32/openai",
    "ViT-B-16/laion2b_s34b_b88k",
    "ViT-L-14/laion2b_s32b_b82k",
    "ViT-L-14/openai",
    "ViT-SO400M-16-SigLIP2-512/webli",
]


def test_the_page_says_which_are_compared() -> None:
    told = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition("## How we know")[2]
    compared, _, others = told.partition("Not compared:")
    assert set(re.findall(r"`(ViT[^`]+/[^`]+)`", compared)) == {*FAST, *SLOW}
    assert not [name for name in (*FAST, *SLOW) if f"`{name}`" in others]
    assert f"over {len(list(odd_images()))} image files" in " ".join(told.split())


@pytest.fixture(scope="module", params=[*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    name = request.param
    architecture, _, tag = name.partition("/")
    repository = look_up(name).repository
    weights = tmp_path_factory.mktemp("weights") / "random.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        hub = Hub(tmp_path_factory.mktemp("hub"), patch)
        hub.add(repository, "open_clip_model.safetensors", write_weights(weights, architecture))
        named = architecture
        if "SigLIP" in architecture:
            described = json.dumps({"model_cfg": open_clip.get_model_config(architecture)}).encode()
            for file, content in {**tokenizer_files(), "open_clip_config.json": described}.items():
                named = f"local-dir:{hub.add(repository, file, content).parent}"
        ours = make_encoder(name, device="cpu")
        ours.load()
        theirs, preprocess = open_clip.create_model_from_pretrained(
            architecture, tag, force_quick_gelu=tag == "openai", cache_dir=str(hub.folder)
        )
        yield Pair(ours, theirs.eval(), preprocess, open_clip.get_tokenizer(named))
    weights.unlink()
    del ours, theirs
    gc.collect()


def write_weights(path: Path, architecture: str) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = open_clip.create_model(architecture, pretrained_text=False)
    model.logit_scale.data.fill_(math.log(SCALE))
    if model.logit_bias is not None:
        model.logit_bias.data.fill_(BIAS)
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def corpus() -> list[OddImage]:
    return list(odd_images())


def images_of(pair: Pair, corpus: list[OddImage]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ours from bytes, theirs from pictures: each of shape (images, dimension)."""
    decoded = [decode(one.data, max_pixels=10**8, at_least=pair.ours.target_size).image for one in corpus]
    prepared = [pair.ours.prepare(image) for image in decoded]
    # Few at a time: two copies of the largest model leave little memory.
    ours = [pair.ours.forward(prepared[at : at + TOGETHER]) for at in range(0, len(prepared), TOGETHER)]
    with torch.inference_mode():
        vectors = [pair.theirs.encode_image(pair.preprocess(one.picture)[None], normalize=True) for one in corpus]
    return np.concatenate(ours), torch.cat(vectors).numpy()


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return np.asarray((ours * theirs).sum(axis=1) / lengths, dtype=np.float32)


def test_an_image_file_has_the_vector_of_open_clips_straight_path(pair: Pair, corpus: list[OddImage]) -> None:
    ours, theirs = images_of(pair, corpus)
    mean = theirs.mean(axis=0)
    same, same_without_mean = cosines(ours, theirs), cosines(ours - mean, theirs - mean)
    far = {
        one.name: (float(first), float(second))
        for one, first, second in zip(corpus, same, same_without_mean, strict=True)
        if first < FAITHFUL or second < FAITHFUL
    }
    assert not far


def test_a_text_has_the_vector_of_open_clips_straight_path(pair: Pair) -> None:
    with torch.inference_mode():
        theirs = pair.theirs.encode_text(pair.tokenize(TEXTS), normalize=True).numpy()
    ours = pair.ours.encode_text(TEXTS)
    mean = theirs.mean(axis=0)
    assert cosines(ours, theirs).min() >= FAITHFUL
    assert cosines(ours - mean, theirs - mean).min() >= FAITHFUL


def test_cosines_become_the_probabilities_that_open_clip_computes(pair: Pair, corpus: list[OddImage]) -> None:
    picture, scoring = corpus[0].picture, pair.ours.scoring
    assert scoring is not None
    with torch.inference_mode():
        logits, _ = pair.theirs.get_logits(pair.preprocess(picture)[None], pair.tokenize(TEXTS))
    image, words = pair.ours.forward([pair.ours.prepare(picture)]), pair.ours.encode_text(TEXTS)
    assert np.allclose(scoring.scale * (image @ words.T) + scoring.bias, logits.numpy(), atol=1e-3 * SCALE)
    assert scoring.kind == ("softmax" if pair.theirs.logit_bias is None else "sigmoid")
    assert scoring.scale == pytest.approx(SCALE, rel=1e-5)
    assert scoring.bias == (0 if scoring.kind == "softmax" else BIAS)
