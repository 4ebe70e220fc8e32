import contextlib
import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.factory import _find_checkpoint_in_dir
from safetensors.torch import save_file

from encoders.checkpoints import PREFERRED, check_whole, count_parameters, find_checkpoint, misfit, shapes
from schemas.errors import ConfigurationError


@given(names=st.sets(st.sampled_from([*PREFERRED, "a.safetensors", "b.bin", "c.pth", "d.pt", "e.txt", "A.bin"])))
def test_a_folder_means_the_file_that_open_clip_would_load(
    names: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    for name in names:
        (folder / name).touch()
    found = find_checkpoint(folder)
    assert (None if found is None else str(found)) == _find_checkpoint_in_dir(folder)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(())}, path, {"format": "pt"})
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_whole(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_whole_file_passes_and_tells_what_it_holds(whole: Path) -> None:
    check_whole(whole)
    assert shapes(whole) == {"a": (3, 5), "b": ()}
    assert count_parameters(whole) == 16


def test_a_file_cut_anywhere_is_refused(whole: Path) -> None:
    data = whole.read_bytes()
    for length in range(len(data)):
        whole.write_bytes(data[:length])
        assert "copy or download it again" in refusal(whole)


def test_a_cut_file_is_told_by_its_bytes(whole: Path) -> None:
    data = whole.read_bytes()
    whole.write_bytes(data[:-1])
    assert f"by its own header it has {len(data):,} bytes, and there are {len(data) - 1:,}" in refusal(whole)
    whole.write_bytes(data + b"\0")
    assert "too long" in refusal(whole)


@given(
    header=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
        ).map(lambda value: json.dumps(value).encode()),
        st.dictionaries(
            st.text(max_size=3),
            st.fixed_dictionaries({"data_offsets": st.lists(st.integers(), max_size=2)}),
            max_size=3,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_header_is_accepted_or_refused_with_a_sentence(
    header: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("model") / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with contextlib.suppress(ConfigurationError):
        check_whole(path)


def test_a_pointer_of_git_lfs_is_called_one(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.bin"):
        path = tmp_path / name
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 605\n")
        assert "git lfs pull" in refusal(path)


def test_an_archive_of_torch_that_was_cut_is_refused_and_a_whole_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    torch.save({"a": torch.zeros(100)}, path)
    check_whole(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "cut short after" in refusal(path)


def test_a_misfit_is_told_by_counts_and_by_one_example_of_each() -> None:
    here = {"visual.conv1.weight": (768, 3, 32, 32), "positional_embedding": (77, 512), "ln.weight": (512,)}
    assert misfit(here, here) == ""
    there = {"visual.conv1.weight": (768, 3, 16, 16), "positional_embedding": (99, 512), "new": ()}
    said = misfit(there, here)
    assert said == (
        "missing: ln.weight; unknown: new; of another shape: visual.conv1.weight (768 x 3 x 16 x 16 in the file, "
        "768 x 3 x 32 x 32 in the model) and 1 more"
    )


def test_weights_that_transformers_laid_out_are_recognised() -> None:
    said = misfit({"vision_model.embeddings.weight": (1,)}, {"visual.conv1.weight": (2,)})
    assert "as transformers lays them out" in said
