"""What each family of models wants to see, and that a name leads to it, without loading the weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from encoders.catalogue import CATALOGUE
from encoders.preprocessing import Preprocessing
from encoders.weights import find_weights
from tests.unit.encoders.hub import Hub
from tests.unit.encoders.odd_images import odd_images
from tests.unit.encoders.tiny_model import write_tiny_model

CLIP = ("shortest", "bicubic", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ("shortest", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SIGLIP = ("squash", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

EXPECTED = {
    "ViT-B-32/laion2b_s34b_b79k": (224, *CLIP),
    "ViT-B-32/laion400m_e32": (224, *CLIP),
    "ViT-B-32/openai": (224, *CLIP),
    "ViT-B-16/laion2b_s34b_b88k": (224, *CLIP),
    "ViT-B-16/openai": (224, *CLIP),
    "ViT-L-14/datacomp_xl_s13b_b90k": (224, *CLIP),
    "ViT-L-14/laion2b_s32b_b82k": (224, *HALF),
    "ViT-L-14/openai": (224, *CLIP),
    "ViT-B-16-SigLIP2-256/webli": (256, *SIGLIP),
    "ViT-SO400M-16-SigLIP2-384/webli": (384, *SIGLIP),
    "ViT-SO400M-16-SigLIP2-512/webli": (512, *SIGLIP),
}
"""Side, how it gets there, mean and deviation: as their authors trained them."""

QUICK = {"ViT-B-32/laion400m_e32", "ViT-B-32/openai", "ViT-B-16/openai", "ViT-L-14/openai"}
"""Trained with QuickGELU."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path / "hub", monkeypatch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def test_every_model_of_open_clip_in_the_catalogue_is_judged_here() -> None:
    assert EXPECTED.keys() == {model.name for model in CATALOGUE if model.repository and "/" in model.name}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_name_leads_to_the_preprocessing_and_the_activation_of_its_weights(hub: Hub, tiny: Path, name: str) -> None:
    architecture, _, tag = name.partition("/")
    repository = next(model.repository for model in CATALOGUE if model.name == name)
    hub.add(repository, "open_clip_model.safetensors", tiny / "open_clip_model.safetensors")
    source = find_weights(name)
    side = open_clip.get_model_config(architecture)["vision_cfg"]["image_size"]
    found = PreprocessCfg(size=side, **source.options["force_preprocess_cfg"])
    assert (side, found.resize_mode, found.interpolation, found.mean, found.std) == EXPECTED[name]
    assert source.options.get("force_quick_gelu", False) == (name in QUICK)

    own = {key: value for key, value in open_clip.get_pretrained_cfg(architecture, tag).items() if key in vars(found)}
    theirs = image_transform_v2(PreprocessCfg(**own | {"size": side}), is_train=False)
    ours = Preprocessing(found)
    for one in list(odd_images())[:6]:
        pixels = torch.from_numpy(np.array(ours.pixels(one.picture)))
        assert torch.equal(ours.normalise(pixels[None])[0], theirs(one.picture))


def test_a_checkpoint_is_preprocessed_as_the_description_beside_it_says(tmp_path: Path, tiny: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "large")
    alone = find_weights(f"ViT-L-14/{tiny}")
    assert alone.options["force_preprocess_cfg"] == {}
    described = json.loads((folder / "open_clip_config.json").read_text())
    described["preprocess_cfg"] = {"mean": [0.5] * 3, "std": [0.5] * 3}
    described["model_cfg"]["quick_gelu"] = True
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    source = find_weights(f"ViT-L-14/{folder}")
    assert source.options == {
        "force_preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
        "force_quick_gelu": True,
    }
