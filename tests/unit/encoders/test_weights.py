"""What is said of weights and tokenizers that cannot be loaded, and that those on this machine need no network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from encoders.clip import OpenClipEncoder
from encoders.tokenizer import FILES, load_tokenizer
from encoders.weights import Source
from schemas.errors import ConfigurationError
from tests.unit.encoders.hub import Hub
from tests.unit.encoders.loading import loaded, refusal
from tests.unit.encoders.stand_in_tokenizer import tokenizer_files
from tests.unit.encoders.tiny_model import write_tiny_model

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path / "hub", monkeypatch)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny")


@pytest.fixture
def worded(tiny: Path) -> Path:
    """A model whose tokenizer is files of their own, as SigLIP's is; the files are not there."""
    config = json.loads((tiny / CONFIG).read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "someone/tokenizer"
    (tiny / CONFIG).write_text(json.dumps(config))
    return tiny


# Weights


def test_weights_in_the_hubs_cache_are_loaded_without_asking_the_hub(
    hub: Hub, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: object, **options: object) -> None:
        raise AssertionError(f"the hub was asked for {arguments}")

    for client in ("open_clip.factory.download_pretrained_from_hf", "open_clip.pretrained.download_pretrained_from_hf"):
        monkeypatch.setattr(client, asked)
    for file in (WEIGHTS, CONFIG):
        hub.add("someone/tiny", file, tiny / file)
    encoder = loaded("hf-hub:someone/tiny")
    assert encoder.identity.model == "someone/tiny"
    assert encoder.identity.fingerprint == loaded(tiny).identity.fingerprint
    assert encoder.encode_text(["a boat"]).shape == (1, 48)


def test_a_repository_that_is_not_in_the_cache_is_named_with_the_command_that_gets_it(hub: Hub) -> None:
    sentence = refusal("hf-hub:someone/tiny")
    for words in (
        f"looked for {WEIGHTS} or open_clip_pytorch_model.bin of someone/tiny in {hub.folder}/models--someone--tiny",
        "hf download someone/tiny --include 'open_clip*' --include '*token*'",
        "--local-dir FOLDER",
    ):
        assert words in sentence


def test_a_cut_file_is_called_one_wherever_it_lies(hub: Hub, tiny: Path) -> None:
    data = (tiny / WEIGHTS).read_bytes()
    (tiny / WEIGHTS).write_bytes(data[: len(data) // 2])
    hub.add("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", WEIGHTS, data[:-1])
    for name in (tiny, f"ViT-S-32/{tiny}", "ViT-B-32/laion2b_s34b_b79k"):
        sentence = refusal(name)
        assert "is cut short: by its own header it has" in sentence
        assert WEIGHTS in sentence


def test_a_folder_says_what_was_found_in_it_instead_of_weights(tiny: Path) -> None:
    (tiny / WEIGHTS).rename(tiny / "weights.npz")
    sentence = refusal(tiny)
    assert f"looked for {WEIGHTS}, " in sentence
    assert "found open_clip_config.json, weights.npz" in sentence


def test_a_description_that_is_none_is_named(tiny: Path) -> None:
    (tiny / CONFIG).write_text("{")
    assert f"{tiny / CONFIG} is no JSON" in refusal(tiny)
    (tiny / CONFIG).write_text('{"architectures": ["CLIPModel"]}')
    assert f"{tiny / CONFIG} describes no model of open_clip" in refusal(tiny)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_of_which_some_are_missing_are_told_by_name(tiny: Path, suffix: str) -> None:
    weights = load_file(tiny / WEIGHTS)
    del weights["ln_final.bias"]
    (tiny / WEIGHTS).unlink()
    path = tiny / f"part{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": weights}, path)
        # Without a description beside it a checkpoint belongs to the architecture that is named.
        assert "missing: " in refusal(f"ViT-S-32/{path}")
    else:
        save_file(weights, path)
        assert "missing: ln_final.bias." in refusal(tiny)


def test_weights_in_the_layout_of_transformers_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(768)}, path)
    assert "as transformers lays them out" in refusal(f"ViT-S-32/{path}")


def test_the_model_that_comes_with_sightline_says_where_it_should_be(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encoders.weights.SMALL_FOLDER", tmp_path / "small")
    sentence = refusal("sightline-small")
    assert f"looked for {CONFIG} in {tmp_path / 'small'}" in sentence
    monkeypatch.setattr("encoders.weights.SMALL_FOLDER", tiny)
    assert loaded("sightline-small").identity.model == "sightline-small"


# Words


def words_refused(encoder: OpenClipEncoder) -> str:
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    assert encoder.forward([picture]).shape == (1, 48), "pictures need no tokenizer"
    with pytest.raises(ConfigurationError) as caught:
        encoder.encode_text(["a boat"])
    return str(caught.value)


def test_a_missing_tokenizer_is_named_with_every_place_and_the_command_that_gets_it(hub: Hub, worded: Path) -> None:
    sentence = words_refused(loaded(worded))
    assert f"looked for {' or '.join(FILES)} in {worded} and in {hub.folder}/models--someone--tokenizer" in sentence
    assert "hf download someone/tokenizer --include '*token*'" in sentence
    assert f"put these files into {worded}" in sentence


def test_a_tokenizer_beside_the_weights_and_one_in_the_cache_read_words_alike(hub: Hub, worded: Path) -> None:
    copy = shutil.copytree(worded, worded.with_name("copy"))
    for name, content in tokenizer_files(step=100).items():
        (copy / name).write_bytes(content)
        hub.add("someone/tokenizer", name, content)
    beside, cached = (loaded(folder).encode_text(["a boat", "two dogs"]) for folder in (copy, worded))
    assert np.array_equal(beside, cached)
    assert not np.allclose(beside[0], beside[1], atol=1e-3)


def test_texts_are_cut_at_open_clips_default_where_the_description_gives_no_length(worded: Path) -> None:
    source = Source("xlm", "xlm-roberta-base-ViT-B-32", checkpoint=worded / WEIGHTS)
    for name, content in tokenizer_files(step=100).items():
        (worded / name).write_bytes(content)
    assert load_tokenizer("xlm", source)(["a boat", "a" * 200]).shape == (2, 77)


def test_a_broken_tokenizer_stops_words_alone(worded: Path) -> None:
    (worded / "tokenizer.json").write_text("{")
    assert "its tokenizer cannot be loaded" in words_refused(loaded(worded))


def test_without_transformers_words_are_refused_with_what_to_install(
    worded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "install 'sightline[transformers]'" in words_refused(loaded(worded))
