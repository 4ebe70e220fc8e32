import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

import encoders.clip
from encoders.clip import OpenClipEncoder
from encoders.encoder import OutOfMemory
from encoders.engine import EncoderEngine
from encoders.preprocessing import Preprocessing
from encoders.short_texts import ShortTexts, can_be_short
from encoders.short_tokens import ShortTokens
from encoders.vision_transformer import FastVisionTransformer, Linear, can_be_fast
from imaging.samples import draw_scene
from schemas.errors import ConfigurationError
from tests.unit.encoders.tiny_model import write_tiny_model

PICTURES = [draw_scene(kind, width, height, seed=1) for kind, width, height in [
    ("sea", 320, 240), ("city", 200, 333), ("shapes", 64, 64), ("sky", 20, 31), ("fields", 500, 90)
]]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def loaded(name: str | Path) -> OpenClipEncoder:
    encoder = OpenClipEncoder(str(name), device="cpu")
    encoder.load()
    return encoder


def straight(name: str, pictures: list[Image.Image], **options: Any) -> NDArray[np.float32]:
    """What open_clip's documentation says to do, in float32."""
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(name, **options)
    with torch.inference_mode():
        batch = torch.stack([transform(picture) for picture in pictures])
        vectors: NDArray[np.float32] = model.eval().encode_image(batch, normalize=True).numpy()
    return vectors


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((ours * theirs).sum(axis=1), dtype=np.float32)


# The same vectors as open_clip's


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"no_ln_pre": True},
        {"final_ln_after_pool": True},
        {"act_kwargs": {"approximate": "tanh"}},
        {"pool_type": "avg"},
        {"ls_init_value": 0.1},
        {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4, "output_tokens": False},
    ],
    ids=str,
)
def test_vectors_are_those_of_open_clips_straight_path(tmp_path: Path, vision: dict[str, Any]) -> None:
    folder = write_tiny_model(tmp_path / "model", vision=vision)
    encoder = loaded(folder)
    ours = encoder.forward([encoder.prepare(picture) for picture in PICTURES])
    assert cosines(ours, straight(f"local-dir:{folder}", PICTURES)).min() >= 0.9999


def test_vectors_of_a_built_in_architecture_with_random_weights_are_open_clips_and_its_random_numbers_untouched() -> (
    None
):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    encoder = loaded("ViT-S-32/random")
    assert torch.equal(torch.random.get_rng_state(), before)
    ours = encoder.forward([encoder.prepare(picture) for picture in PICTURES])
    assert cosines(ours, straight("ViT-S-32", PICTURES)).min() >= 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32-quickgelu", "RN50", "ViT-B-16-SigLIP"])
def test_vectors_of_full_size_architectures_with_random_weights_are_open_clips(name: str) -> None:
    encoder = loaded(f"{name}/random")
    ours = encoder.forward([encoder.prepare(picture) for picture in PICTURES])
    squash = {"image_mean": (0.5,) * 3, "image_std": (0.5,) * 3, "image_resize_mode": "squash"}
    theirs = straight(name, PICTURES, **squash if "SigLIP" in name else {})
    assert cosines(ours, theirs).min() >= 0.9999


def test_words_have_the_vectors_of_open_clips_text_tower(tiny: Path) -> None:
    texts = ["a red boat", "two dogs", "x" * 400]
    model = open_clip.create_model(f"local-dir:{tiny}").eval()
    with torch.inference_mode():
        theirs = model.encode_text(open_clip.get_tokenizer(f"local-dir:{tiny}")(texts), normalize=True).numpy()
    assert cosines(loaded(tiny).encode_text(texts), theirs).min() >= 0.9999


def test_a_text_has_the_same_vector_alone_and_beside_longer_ones(tiny: Path) -> None:
    encoder = loaded(tiny)
    texts = ["", "a boat", "a very old wooden boat on a lake " * 20]
    alone = np.concatenate([encoder.encode_text([one]) for one in texts])
    np.testing.assert_allclose(encoder.encode_text(texts), alone, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"quick_gelu": True}, {"act_kwargs": {"approximate": "tanh"}}], ids=str)
def test_a_short_text_has_the_features_that_open_clip_computes_with_all_the_padding(options: dict[str, Any]) -> None:
    text = {"context_length": 20, "vocab_size": 300, "width": 48, "heads": 3, "layers": 3}
    kinds = {key: value for key, value in options.items() if key == "act_kwargs"}
    vision = open_clip.CLIPVisionCfg(image_size=32, layers=1, width=64, patch_size=8)
    generator = torch.Generator().manual_seed(3)
    model = open_clip.CLIP(
        40, vision, open_clip.CLIPTextCfg(**text, **kinds), quick_gelu=options.get("quick_gelu", False)
    ).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 4
    tokens = torch.zeros((5, 20), dtype=torch.long)
    for row, length in enumerate([2, 7, 20, 3, 11]):
        tokens[row, :length] = torch.randint(1, 298, (length,), generator=generator)
        tokens[row, length - 1] = 299
    assert can_be_short(model)
    with torch.inference_mode():
        whole, words = model.encode_text(tokens), ShortTexts(model)
        torch.testing.assert_close(words(tokens), whole, atol=1e-5, rtol=1e-5)
        for row, length in enumerate([2, 7, 20, 3, 11]):
            alone = words(tokens[row : row + 1, :length])
            torch.testing.assert_close(alone, whole[row : row + 1], atol=1e-5, rtol=1e-5)


def test_padding_is_left_out_only_where_that_computes_the_same(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not can_be_short(open_clip.create_model("ViT-B-16-SigLIP", load_weights=False))
    assert can_be_short(open_clip.create_model(f"local-dir:{tiny}"))
    for name, other in (("attn_mask", None), ("attn_mask", torch.zeros(77, 77)), ("text_pool_type", "last")):
        model = open_clip.create_model(f"local-dir:{tiny}")
        setattr(model, name, other)
        assert not can_be_short(model), name

    class Wrong(ShortTexts):
        def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
            return super().__call__(tokens).flip(1)

    assert isinstance(loaded(tiny)._words, ShortTexts)
    assert isinstance(loaded(tiny)._tokenizer, ShortTokens)
    before = loaded(tiny).encode_text(["a red boat"])
    monkeypatch.setattr(encoders.clip, "ShortTexts", Wrong)
    np.testing.assert_allclose(loaded(tiny).encode_text(["a red boat"]), before, atol=1e-6)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_preprocessing_is_bit_for_bit_that_of_open_clip(resize_mode: str, interpolation: str) -> None:
    config = PreprocessCfg(size=64, resize_mode=resize_mode, interpolation=interpolation, mean=(0.5, 0.4, 0.3))
    ours, theirs = Preprocessing(config), image_transform_v2(config, is_train=False)
    for picture in PICTURES:
        pixels = ours.pixels(picture)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (64, 64, 3)
        assert torch.equal(ours.normalise(torch.from_numpy(pixels[None].copy()))[0], theirs(picture))


def test_the_fast_forward_pass_is_used_only_where_it_computes_the_same(tiny: Path, tmp_path: Path) -> None:
    assert isinstance(loaded(tiny)._features, FastVisionTransformer)
    others: list[dict[str, Any]] = [{"pool_type": "avg"}, {"ls_init_value": 0.1}, {"attentional_pool": True}]
    for number, vision in enumerate(others):
        folder = write_tiny_model(tmp_path / str(number), vision=vision)
        assert not can_be_fast(open_clip.create_model(f"local-dir:{folder}").visual)


def test_a_fast_forward_pass_that_computes_something_else_is_not_used(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(FastVisionTransformer):
        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().__call__(pixels).flip(1)

    monkeypatch.setattr(encoders.clip, "FastVisionTransformer", Wrong)
    encoder = loaded(tiny)
    ours = encoder.forward([encoder.prepare(picture) for picture in PICTURES])
    assert cosines(ours, straight(f"local-dir:{tiny}", PICTURES)).min() >= 0.9999


@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_linear_layer_computes_the_same_with_and_without_onednn(
    gelu: str | None, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packed:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    generator = torch.Generator().manual_seed(0)
    weight, bias, x, plus = (torch.randn(*shape, generator=generator) for shape in [(24, 16), (24,), (5, 16), (5, 24)])
    layer = Linear(weight, bias, rows=5)
    expected = functional.linear(x, weight, bias)
    with torch.inference_mode():
        assert torch.allclose(layer(x, plus=plus.clone()), expected + plus, atol=1e-5)
        expected = expected if gelu is None else functional.gelu(expected, approximate=gelu)
        assert torch.allclose(layer(x, gelu=gelu), expected, atol=1e-5)


# Identity


def test_the_fingerprint_follows_the_weights_and_not_their_file(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "copy")
    weights = open_clip.create_model(f"local-dir:{tiny}").state_dict()
    (copy / "open_clip_model.safetensors").unlink()
    torch.save(weights, copy / "open_clip_pytorch_model.bin")
    other = write_tiny_model(tmp_path / "other", seed=1)
    assert loaded(copy).identity.fingerprint == loaded(tiny).identity.fingerprint
    assert loaded(other).identity.space != loaded(tiny).identity.space


def test_the_fingerprint_follows_preprocessing_and_names_the_dtype(tiny: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "tiny", preprocessing={"resize_mode": "squash"})
    ours, theirs = loaded(tiny).identity, loaded(other).identity
    assert ours.fingerprint.endswith("-float32")
    assert ours.fingerprint.split("-")[1] != theirs.fingerprint.split("-")[1]
    assert ours.model == "tiny"
    assert ours.dimension == 48


def test_another_activation_on_the_same_weights_is_another_encoder(tmp_path: Path) -> None:
    plain = write_tiny_model(tmp_path / "plain")
    quick = write_tiny_model(tmp_path / "tanh", vision={"act_kwargs": {"approximate": "tanh"}})
    assert loaded(plain).identity.space != loaded(quick).identity.space


def test_there_is_no_identity_before_the_weights_are_read() -> None:
    with pytest.raises(RuntimeError, match="before load"):
        _ = OpenClipEncoder("ViT-S-32/random", device="cpu").identity


# What cannot be loaded


def refusal(name: str | Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(name)
    return str(caught.value)


def test_weights_that_are_not_here_are_named_with_where_they_were_sought_and_the_command_that_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    sentence = refusal("ViT-B-32/laion2b_s34b_b79k")
    assert "ViT-B-32/laion2b_s34b_b79k" in sentence
    assert "open_clip_model.safetensors" in sentence
    assert str(tmp_path) in sentence
    assert "hf download laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in sentence


def test_an_unreachable_hub_is_noticed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request.getproxies", dict)
    assert "127.0.0.1 cannot be reached" in refusal("hf-hub:someone/something")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ViT-B-33/openai", "did you mean ViT-B-32"),
        ("ViT-B-32/laion2b", "did you mean laion2b_"),
        ("ViT-B-32/laion2b-s34b-b79k", "is called ViT-B-32/laion2b_s34b_b79k here"),
        ("ViT-B-32/OpenAI", "is called ViT-B-32/openai here"),
        ("ViT-B-32", "names no weights; write ViT-B-32/TAG"),
        ("ViT-B-32//nowhere/clip.pt", "the checkpoint /nowhere/clip.pt for ViT-B-32 does not exist"),
        ("/nowhere/model", "the model folder /nowhere/model does not exist"),
        ("ViT-B/32", "ViT-B/32 is called ViT-B-32 here, and names no weights; write ViT-B-32/TAG"),
        ("openai/clip-vit-large-patch14", "openai/clip-vit-large-patch14 is called ViT-L-14/openai here"),
    ],
)
def test_each_kind_of_wrong_name_has_its_sentence(name: str, words: str) -> None:
    assert words in refusal(name)


def test_a_folder_without_weights_says_what_was_looked_for(tmp_path: Path, tiny: Path) -> None:
    shutil.copy(tiny / "open_clip_config.json", tmp_path)
    assert "open_clip_model.safetensors" in refusal(tmp_path)
    assert str(tmp_path) in refusal(f"ViT-S-32/{tmp_path}")


def test_weights_of_another_architecture_are_refused_by_name(tiny: Path) -> None:
    sentence = refusal(f"ViT-S-32/{tiny}")
    assert str(tiny / "open_clip_model.safetensors") in sentence
    assert "not made for ViT-S-32/tiny" in sentence
    assert "missing: transformer.resblocks.1.attn.in_proj_bias and " in sentence
    assert "of another shape: " in sentence


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_text("not weights")
    assert str(path) in refusal(f"ViT-S-32/{path}")


def test_a_checkpoint_file_and_a_folder_with_one_load_the_same(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.create_model("ViT-S-32", pretrained=None)
    path = tmp_path / "mine.pt"
    torch.save(model.state_dict(), path)
    by_file, by_folder = loaded(f"ViT-S-32/{path}"), loaded(f"ViT-S-32/{tmp_path}")
    assert by_file.identity.fingerprint == by_folder.identity.fingerprint
    assert by_file.identity.model == "ViT-S-32/mine"
    assert by_folder.identity.model == f"ViT-S-32/{tmp_path.name}"


def test_a_siglip_checkpoint_on_disk_is_preprocessed_as_its_published_weights_are() -> None:
    from encoders.weights import find_weights

    options = find_weights("ViT-B-16-SigLIP/random").options["force_preprocess_cfg"]
    assert options["resize_mode"] == "squash"
    assert tuple(options["mean"]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("device", "words"), [("toaster", "not known"), ("meta", "not known"), ("cuda:99", "not usable")]
)
def test_a_device_that_is_not_there_is_refused(device: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        OpenClipEncoder("ViT-S-32/random", device=device)


async def test_a_missing_tokenizer_stops_words_and_not_images(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError("no such vocabulary")

    monkeypatch.setattr(open_clip, "get_tokenizer", missing)
    encoder = loaded(tiny)
    assert encoder.forward([encoder.prepare(PICTURES[0])]).shape == (1, 48)
    with pytest.raises(ConfigurationError, match="no such vocabulary"):
        encoder.encode_text(["boat"])
    async with EncoderEngine(loaded(tiny)) as engine:
        with pytest.raises(ConfigurationError, match="no such vocabulary"):
            await engine.embed_texts(["boat"])


def test_torchs_out_of_memory_is_ours(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = loaded(tiny)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ):

        def fail(pixels: torch.Tensor, error: Exception = error) -> torch.Tensor:
            raise error

        monkeypatch.setattr(encoder, "_features", fail)
        with pytest.raises(OutOfMemory):
            encoder.forward([encoder.prepare(PICTURES[0])])
