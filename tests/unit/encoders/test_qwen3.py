import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders import qwen3
from encoders.encoder import Modality, Vectors
from encoders.engine import EncoderEngine
from encoders.qwen3 import MAX_TOKENS, Qwen3Encoder
from encoders.registry import make_encoder
from schemas.errors import ConfigurationError
from tests.unit.encoders.tiny_qwen3 import LIBRARY, REAL_WIDTH, TINY, write_qwen3

TEXTS = ["a boat", "two red apples on a blue table", "犬", "Жук, ёж", "x" * 300, "a", "A boat at sea. " * 9]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen3(tmp_path_factory.mktemp("models") / "Tiny-Qwen3")


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> Qwen3Encoder:
    return loaded(tiny)


def loaded(folder: Path) -> Qwen3Encoder:
    encoder = Qwen3Encoder(f"qwen3:{folder}", device="cpu")
    encoder.load()
    return encoder


def straight_path(folder: Path, texts: Sequence[str]) -> Vectors:
    """The whole model, one text at a time, by transformers' own means."""
    tokenizer = LIBRARY.AutoTokenizer.from_pretrained(folder)
    model = LIBRARY.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for text in texts:
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[-2]
        rows.append(torch.nn.functional.normalize(states[0].mean(dim=0), dim=-1).numpy())
    return np.stack(rows)


def cosines(one: Vectors, other: Vectors) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    answer: np.ndarray[tuple[int], np.dtype[np.float64]] = (one.astype(np.float64) * other).sum(axis=1) / lengths
    return answer


def test_vectors_are_those_of_transformers_second_to_last_layer(tiny: Path, encoder: Qwen3Encoder) -> None:
    assert cosines(encoder.encode_text(TEXTS), straight_path(tiny, TEXTS)).min() >= 0.9999


@pytest.mark.slow
def test_at_real_width_vectors_are_those_of_transformers_second_to_last_layer(tmp_path: Path) -> None:
    folder = write_qwen3(tmp_path / "Qwen3", REAL_WIDTH, dtype=torch.bfloat16, max_shard_size="100MB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    encoder = loaded(folder)
    together = encoder.encode_text(TEXTS)
    assert together.shape == (len(TEXTS), 2560)
    assert cosines(together, straight_path(folder, TEXTS)).min() >= 0.9999
    alone = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    assert cosines(together, alone).min() >= 0.9999


def test_the_last_layer_would_give_other_vectors(tmp_path: Path, encoder: Qwen3Encoder) -> None:
    shallow = loaded(write_qwen3(tmp_path / "Shallow", TINY | {"num_hidden_layers": 2}))
    assert cosines(encoder.encode_text(TEXTS), shallow.encode_text(TEXTS)).max() < 0.99


def test_texts_of_unlike_length_do_not_change_each_others_vectors(
    encoder: Qwen3Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    assert cosines(encoder.encode_text(TEXTS), alone).min() >= 0.9999
    assert cosines(encoder.encode_text(TEXTS[::-1])[::-1], alone).min() >= 0.9999
    monkeypatch.setattr(qwen3, "TOKENS_AT_ONCE", 20)
    assert cosines(encoder.encode_text(TEXTS), alone).min() >= 0.9999
    assert np.array([[one @ other for other in alone] for one in alone])[~np.eye(len(TEXTS), dtype=bool)].max() < 0.999


def test_what_follows_the_last_token_that_is_read_changes_nothing(encoder: Qwen3Encoder) -> None:
    long = "1x2y" * MAX_TOKENS
    cut, longer, otherwise = encoder.encode_text([long, long + " and a boat", "a boat and " + long])
    assert np.allclose(cut, longer, atol=1e-6)
    assert cut @ otherwise < 0.9999
    assert np.subtract(*encoder.encode_text(["1x2y" * 9, "1x2y" * 9 + " and a boat"])).max() > 1e-3


@settings(deadline=None, max_examples=30)
@given(texts=st.lists(st.text(st.characters(exclude_categories=()), max_size=20), max_size=5))
def test_any_text_gives_a_finite_unit_vector(encoder: Qwen3Encoder, texts: list[str]) -> None:
    vectors = encoder.encode_text(["", *texts])
    assert vectors.dtype == np.float32
    assert vectors.shape == (1 + len(texts), 64)
    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_make_no_vectors(encoder: Qwen3Encoder) -> None:
    assert encoder.encode_text([]).shape == encoder.forward([]).shape == (0, 64)


def test_the_fingerprint_is_of_weights_tokenizer_and_number_type(
    tiny: Path, encoder: Qwen3Encoder, tmp_path: Path
) -> None:
    assert encoder.identity == loaded(tiny).identity
    assert encoder.identity.model == "qwen3:Tiny-Qwen3"
    weights, reading, dtype = encoder.identity.fingerprint.split("-")
    assert dtype == "float32"
    other = tmp_path / "Tiny-Qwen3"
    shutil.copytree(tiny, other)
    with (other / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert loaded(other).identity.fingerprint == f"{weights}-{loaded(other).identity.fingerprint.split('-')[1]}-float32"
    assert loaded(other).identity.fingerprint.split("-")[1] != reading
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    assert loaded(other).identity.fingerprint.split("-")[0] != weights


def test_it_takes_no_images_and_says_so(encoder: Qwen3Encoder) -> None:
    assert encoder.modality is Modality.WORDS
    picture = Image.new("RGB", (8, 8))
    for ask in (lambda: encoder.prepare(picture), lambda: encoder.forward([np.zeros(3, dtype=np.uint8)])):
        with pytest.raises(ConfigurationError, match="takes words only"):
            ask()


async def test_an_engine_with_it_embeds_texts_and_refuses_images_with_a_sentence(tiny: Path) -> None:
    async with EncoderEngine(Qwen3Encoder(f"qwen3:{tiny}", device="cpu"), batch_size=2) as engine:
        assert engine.warm_up is None
        vectors = await engine.embed_texts(TEXTS)
        with pytest.raises(ConfigurationError, match="qwen3:Tiny-Qwen3 takes words only; choose"):
            await engine.embed_image(b"anything")
    assert cosines(vectors, straight_path(tiny, TEXTS)).min() >= 0.9999


@pytest.mark.parametrize("named", ["the folder above", "the text encoder"])
def test_the_layout_of_z_image_is_understood(tiny: Path, encoder: Qwen3Encoder, tmp_path: Path, named: str) -> None:
    for part in ("text_encoder", "tokenizer"):
        (tmp_path / part).mkdir()
    for file in tiny.iterdir():
        shutil.copy(file, tmp_path / ("tokenizer" if "tokenizer" in file.name else "text_encoder") / file.name)
    other = loaded(tmp_path if named == "the folder above" else tmp_path / "text_encoder")
    assert other.identity.fingerprint == encoder.identity.fingerprint


def test_qwen3_4b_is_found_in_the_hubs_cache(
    tiny: Path, encoder: Qwen3Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        make_encoder("qwen3-4b", device="cpu").load()
    for words in (str(tmp_path), "Qwen/Qwen3-4B", "hf download Qwen/Qwen3-4B", "qwen3:/path/to"):
        assert words in str(caught.value)
    repository = tmp_path / "models--Qwen--Qwen3-4B"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    shutil.copytree(tiny, repository / "snapshots" / "abc")
    found = make_encoder("qwen3-4b", device="cpu")
    found.load()
    assert found.identity == encoder.identity.model_copy(update={"model": "qwen3-4b"})


def broken(folder: Path, how: str) -> str:
    """Break a copy of a model's folder; words of the sentence that must follow."""
    weights = folder / "model.safetensors"
    if how == "no weights":
        weights.unlink()
        return "lacks *.safetensors"
    if how == "weights cut short":
        weights.write_bytes(weights.read_bytes()[:-100])
        return "cut short"
    if how == "a shard is missing":
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002.safetensors"}}')
        return "lacks model-00002.safetensors"
    if how == "other weights":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 128}))
        return "cannot be loaded"
    if how == "layers are missing":
        config = json.loads((folder / "config.json").read_text())
        config |= {"num_hidden_layers": 9, "layer_types": ["full_attention"] * 9}
        (folder / "config.json").write_text(json.dumps(config))
        return "lack layers.3."
    if how == "another kind":
        (folder / "config.json").write_text('{"model_type": "bert"}')
        return "the type 'bert', not qwen3"
    if how == "no config":
        (folder / "config.json").unlink()
        return "no config.json"
    (folder / "tokenizer.json").unlink()
    return "no tokenizer"


@pytest.mark.parametrize(
    "how",
    [
        "no weights",
        "weights cut short",
        "a shard is missing",
        "other weights",
        "layers are missing",
        "another kind",
        "no config",
        "no tokenizer",
    ],
)
def test_a_folder_that_cannot_be_loaded_says_what_is_wrong_with_it(tiny: Path, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "Tiny-Qwen3"
    shutil.copytree(tiny, folder)
    words = broken(folder, how)
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder)
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="there is no folder /nowhere/at/all"):
        loaded(Path("/nowhere/at/all"))


def test_transformers_is_imported_by_nobody_before_a_model_that_needs_it_is_loaded() -> None:
    code = (
        "import sys\n"
        "import encoders.qwen3, encoders.engine\n"
        "from encoders.registry import make_encoder\n"
        "make_encoder('qwen3-4b'); make_encoder('qwen3:/nowhere')\n"
        "print(sorted(name for name in sys.modules if name in ('transformers', 'open_clip')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[]", done.stderr
