"""Weights in archives of TorchScript: the same model as the module that they were traced from, or a refusal."""

import pickle
import warnings
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch

from encoders.torchscript import is_torchscript
from imaging.samples import draw_scene
from schemas.errors import ConfigurationError
from tests.unit.encoders.loading import loaded

ARCHITECTURE = "ViT-S-32"


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[open_clip.CLIP, Path]:
    """A model, and the archive that was made from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = open_clip.create_model(ARCHITECTURE, load_weights=False).eval()
        with_sizes = open_clip.create_model(ARCHITECTURE, load_weights=False).eval()
    with_sizes.load_state_dict(model.state_dict())
    # OpenAI's archives hold these as tensors too.
    for name, number in {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}.items():
        vars(with_sizes).pop(name, None)
        with_sizes.register_buffer(name, torch.tensor(number))
    path = tmp_path_factory.mktemp("weights") / "clip.pt"
    write_archive(path, with_sizes, torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long))
    return model, path


def write_archive(path: Path, module: torch.nn.Module, *inputs: torch.Tensor) -> None:
    with warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(module, inputs, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path)


@pytest.mark.filterwarnings("error")
def test_an_archive_makes_the_vectors_of_the_module_that_it_was_traced_from(
    traced: tuple[open_clip.CLIP, Path], caplog: pytest.LogCaptureFixture
) -> None:
    model, path = traced
    ours = loaded(f"{ARCHITECTURE}/{path}")
    picture, texts = ours.prepare(draw_scene("city", 320, 240, seed=1)), ["a boat", "two red apples"]
    with torch.inference_mode():
        pixels = ours._preprocessing.normalise(torch.tensor(picture[None]))
        image = model.encode_image(pixels, normalize=True).numpy()
        words = model.encode_text(open_clip.get_tokenizer(ARCHITECTURE)(texts), normalize=True).numpy()
    assert "randomly" not in caplog.text
    assert (ours.forward([picture]) * image).sum() >= 0.9999
    assert ((ours.encode_text(texts) * words).sum(axis=1) >= 0.9999).all()


def test_an_archive_and_a_file_of_the_same_tensors_are_one_encoder(
    traced: tuple[open_clip.CLIP, Path], tmp_path: Path
) -> None:
    model, path = traced
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    assert (is_torchscript(path), is_torchscript(tmp_path / "clip.pt")) == (True, False)
    assert (
        loaded(f"{ARCHITECTURE}/{path}").identity.fingerprint
        == loaded(f"{ARCHITECTURE}/{tmp_path / 'clip.pt'}").identity.fingerprint
    )


def test_an_archive_of_another_architecture_is_refused_by_name(traced: tuple[open_clip.CLIP, Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"not made for RN50/clip: missing: .*of another shape: "):
        loaded(f"RN50/{traced[1]}")


def test_an_archive_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    write_archive(path, torch.nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(ConfigurationError, match="none of its tensors is one of the model's"):
        loaded(f"{ARCHITECTURE}/{path}")


class Payload:
    """What runs when it is unpickled."""

    def __init__(self, leaves: Path) -> None:
        self.leaves = leaves

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.leaves,)


@pytest.mark.parametrize("ending", ["pt", "bin"])
def test_a_pickle_with_an_archive_behind_it_is_not_run(tmp_path: Path, ending: str) -> None:
    path, left = tmp_path / f"clip.{ending}", tmp_path / "left"
    path.write_bytes(pickle.dumps(Payload(left), 2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("clip/constants.pkl", b"")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        loaded(f"{ARCHITECTURE}/{path}")
    assert not left.exists()


def test_an_archive_whose_list_is_damaged_is_refused_with_a_sentence(
    traced: tuple[open_clip.CLIP, Path], tmp_path: Path
) -> None:
    whole = traced[1].read_bytes()
    at = whole.rindex(b"PK\x01\x02")  # an entry of the list at the end
    path = tmp_path / "clip.pt"
    path.write_bytes(whole[:at] + b"XX" + whole[at + 2 :])
    with pytest.raises(ConfigurationError, match=str(path)):
        loaded(f"{ARCHITECTURE}/{path}")
