import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from encoders.catalogue import CATALOGUE, SMALL, SMALL_FOLDER
from encoders.encoder import Modality
from encoders.presence import Where, look_up, presence_of
from schemas.errors import ConfigurationError
from tests.unit.encoders.hub import Hub
from tests.unit.encoders.stand_in_tokenizer import tokenizer_files
from tests.unit.encoders.tiny_model import write_tiny_model


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path / "hub", monkeypatch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def test_on_an_empty_machine_only_what_needs_no_download_is_there(hub: Hub) -> None:
    for model in CATALOGUE:
        presence = presence_of(model)
        if model.is_remote:
            assert presence.where is Where.REMOTE
            assert model.token in presence.remedy
        elif model.repository:
            assert presence.where is Where.MISSING
            assert presence.looked_in.startswith(str(hub.folder))
            assert model.repository in presence.remedy
        elif model.name != SMALL:
            assert presence.where is Where.BUILT_IN


def test_the_model_that_comes_with_sightline_is_told_from_one_that_was_taken_away(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encoders.presence.SMALL_FOLDER", tiny)
    presence = presence_of(look_up(SMALL))
    assert presence.where is Where.BUILT_IN
    assert presence.parameters is not None
    assert presence.parameters > 1000
    monkeypatch.setattr("encoders.presence.SMALL_FOLDER", tmp_path)
    presence = presence_of(look_up(SMALL))
    assert presence.where is Where.MISSING
    assert presence.looked_in == str(tmp_path)


def test_that_model_is_looked_for_in_the_package() -> None:
    expected = Where.BUILT_IN if SMALL_FOLDER.is_dir() else Where.MISSING
    assert presence_of(look_up(SMALL)).where is expected


def test_weights_in_the_hubs_cache_are_found_with_their_size_and_their_parameters(hub: Hub, tiny: Path) -> None:
    weights = tiny / "open_clip_model.safetensors"
    path = hub.add("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", weights.name, weights)
    presence = presence_of(look_up("ViT-B-32/laion2b_s34b_b79k"))
    assert presence.where is Where.ON_DISK
    assert presence.path == path
    assert presence.size == weights.stat().st_size
    assert presence_of(look_up("ViT-B-32/openai")).where is Where.MISSING


def test_a_link_whose_target_is_gone_is_no_weights(hub: Hub, tmp_path: Path) -> None:
    hub.add("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors", tmp_path / "gone")
    assert presence_of(look_up("ViT-B-32/laion2b_s34b_b79k")).where is Where.MISSING


def test_a_model_of_open_clip_that_is_not_in_the_catalogue_is_looked_up(hub: Hub, tiny: Path, tmp_path: Path) -> None:
    other = look_up("ViT-H-14/laion2b_s32b_b79k")
    assert other.dimension == 1024
    assert other.repository == "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    assert presence_of(other).where is Where.MISSING
    folder = look_up(str(tiny))
    assert folder.dimension == 48
    assert presence_of(folder).path == tiny / "open_clip_model.safetensors"
    missing = presence_of(look_up(str(tmp_path / "nowhere")))
    assert missing.where is Where.MISSING
    assert str(tmp_path / "nowhere") in missing.remedy
    hub.add("someone/something", "open_clip_config.json", tiny / "open_clip_config.json")
    assert look_up("hf-hub:someone/something").dimension == 48
    assert look_up("ViT-S-32/random").dimension == 384
    assert presence_of(look_up("ViT-S-32/random")).where is Where.BUILT_IN


@pytest.mark.parametrize("name", ["{folder}", "./random", "ViT-S-32/{folder}", "ViT-S-32/./random"])
def test_a_folder_called_random_is_a_folder(
    hub: Hub, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = look_up(name.format(folder=tmp_path / "random"))
    (tmp_path / "random").mkdir()
    assert presence_of(model).where is Where.MISSING
    shutil.copytree(tiny, tmp_path / "random", dirs_exist_ok=True)
    assert presence_of(model).where is Where.ON_DISK


def test_a_name_of_a_model_elsewhere_keeps_what_follows_its_service() -> None:
    assert look_up("huggingface:openai/clip-vit-base-patch32").name == "huggingface:openai/clip-vit-base-patch32"


def test_a_language_model_is_found_in_the_cache_and_in_a_folder(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for file, content in {"config.json": b'{"model_type": "qwen3"}', **tokenizer_files()}.items():
        hub.add("Qwen/Qwen3-4B", file, content)
    save_file({"norm.weight": torch.zeros(7)}, tmp_path / "model.safetensors")
    folder = hub.add("Qwen/Qwen3-4B", "model.safetensors", tmp_path / "model.safetensors").parent
    for name in ("qwen3-4b", f"qwen3:{folder}"):
        model = look_up(name)
        presence = presence_of(model)
        assert model.modality is Modality.WORDS
        assert (presence.where, presence.path, presence.parameters) == (Where.ON_DISK, folder, 7)
    missing = presence_of(look_up(f"qwen3:{tmp_path / 'nowhere'}"))
    assert missing.where is Where.MISSING
    assert str(tmp_path / "nowhere") in missing.remedy


def test_a_broken_file_in_the_cache_does_not_hide_the_other_models(hub: Hub) -> None:
    hub.add("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors", bytes(20))
    presence = presence_of(look_up("ViT-B-32/laion2b_s34b_b79k"))
    assert presence.parameters is None
    assert presence.remedy


@pytest.mark.parametrize("name", ["hf-hub:a/b/c", "hf-hub:a b"])
def test_what_is_no_name_of_a_repository_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name of a repository"):
        presence_of(look_up(name))


def test_a_name_that_is_nobodys_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no architecture called 'nonsense'"):
        look_up("nonsense")


def test_a_name_that_is_nearly_a_models_is_answered_with_that_model() -> None:
    with pytest.raises(ConfigurationError, match="did you mean sightline-small"):
        look_up("sightline-smal")
