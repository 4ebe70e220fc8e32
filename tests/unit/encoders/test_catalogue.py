import open_clip
import pytest
import torch

from encoders.catalogue import (
    CATALOGUE,
    HUGGINGFACE,
    OPEN_CLIP_FILES,
    REPLICATE,
    SMALL,
    SMALL_FOLDER,
    Model,
    find_model,
    name_here,
)
from encoders.encoder import Modality
from encoders.registry import make_encoder

OPEN_CLIPS = [model for model in CATALOGUE if "/" in model.name and not model.is_remote]


@pytest.mark.parametrize("model", OPEN_CLIPS, ids=lambda model: model.name)
def test_what_is_said_of_a_model_of_open_clip_is_so(model: Model) -> None:
    architecture, _, tag = model.name.partition("/")
    assert open_clip.get_pretrained_cfg(architecture, tag)["hf_hub"] == f"{model.repository}/"
    assert model.files == OPEN_CLIP_FILES
    with torch.device("meta"):
        made = open_clip.create_model(architecture, pretrained_text=False, device="meta")
    assert sum(weight.numel() for weight in made.parameters()) == model.parameters
    assert model.size == sum(tensor.numel() * tensor.element_size() for tensor in made.state_dict().values())
    assert open_clip.get_model_config(architecture)["embed_dim"] == model.dimension
    assert model.modality is Modality.IMAGES_AND_WORDS


def test_every_model_has_a_name_of_its_own_a_licence_and_a_sentence_that_says_what_it_is_for() -> None:
    names = [model.name for model in CATALOGUE]
    assert len(set(names)) == len(names)
    assert all(model.licence and model.about.endswith(".") and len(model.about) < 120 for model in CATALOGUE)


def test_every_model_that_runs_here_can_be_made_by_its_name_without_reading_weights() -> None:
    for model in CATALOGUE:
        if not model.is_remote:
            assert make_encoder(model.name, device="cpu").modality is model.modality


def test_an_encoder_without_weights_has_the_dimension_that_is_said_of_it() -> None:
    for model in CATALOGUE:
        if model.parameters == 0:
            assert make_encoder(model.name, device="cpu").identity.dimension == model.dimension


@pytest.mark.skipif(not SMALL_FOLDER.is_dir(), reason="sightline-small is not in this checkout")
def test_the_model_that_comes_with_sightline_is_there_and_is_what_is_said_of_it() -> None:
    encoder = make_encoder(SMALL, device="cpu")
    encoder.load()
    model = find_model(SMALL)
    assert model is not None
    assert encoder.identity.model == SMALL
    assert encoder.identity.dimension == model.dimension
    assert encoder.encode_text(["a red apple"]).shape == (1, model.dimension)


def test_a_model_that_somebody_else_runs_is_found_by_the_beginning_of_its_name() -> None:
    for prefix in (HUGGINGFACE, REPLICATE):
        found = find_model(f"{prefix}someone/something")
        assert found is not None
        assert found.name.startswith(prefix)
        assert found.is_remote
    assert find_model("someone/something") is None


@pytest.mark.parametrize(
    ("elsewhere", "here"),
    [
        ("openai/clip-vit-large-patch14", "ViT-L-14/openai"),
        ("google/siglip2-so400m-patch16-512", "ViT-SO400M-16-SigLIP2-512/webli"),
        ("laion/clip-vit-b-32-laion2b-s34b-b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-B-32/openai", None),
        ("", None),
    ],
)
def test_names_from_elsewhere_are_understood(elsewhere: str, here: str | None) -> None:
    assert name_here(elsewhere) == here
