"""Weights in an archive of TorchScript, as OpenAI published CLIP: a program with its tensors, which are all we take."""

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encoders.checkpoints import Shapes

_MASK = "attn_mask"
"""A constant of causal attention. Tracing makes a weight of it; the model has it anyway."""

_SETTINGS = ("input_resolution", "context_length", "vocab_size")
"""What OpenAI's archives hold besides the weights, as numbers."""


def is_torchscript(path: Path) -> bool:
    """Whether a file is TorchScript. No other kind of torch's archives keeps constants."""
    try:
        with path.open("rb") as file:
            # Python finds an archive that is behind something else too; torch goes by the first bytes.
            if file.read(4) != b"PK\x03\x04":
                return False
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False  # whoever loads it says what is wrong
    return bool(names) and f"{names[0].partition('/')[0]}/constants.pkl" in names


@contextmanager
def weights_come_later() -> Iterator[None]:
    """Keep from the log that the model has random weights, which open_clip says of one that it did not load itself."""
    root = logging.getLogger()

    def told(record: logging.LogRecord) -> bool:
        return "Model initialized randomly" not in record.getMessage()

    root.addFilter(told)
    try:
        yield
    finally:
        root.removeFilter(told)


def load_torchscript(model: Any, path: Path) -> None:
    """Give a model of open_clip the weights in an archive. Raises `ValueError` where they are not the model's."""
    keys = model.load_state_dict(_tensors(path), strict=False)
    wrong = [*keys.missing_keys, *_weights(keys.unexpected_keys)]
    if wrong:
        raise ValueError(f"the archive and the model differ in {wrong[0]}")


def torchscript_shapes(path: Path) -> Shapes:
    """The name and shape of every weight in an archive."""
    tensors = _tensors(path)
    return {name: tuple(tensors[name].shape) for name in _weights(tensors)}


def _weights(names: Any) -> list[str]:
    return [name for name in names if name.rpartition(".")[2] != _MASK]


def _tensors(path: Path) -> dict[str, Tensor]:
    # By TorchScript's own loader and no other: `torch.load` would have to be allowed every pickle.
    with warnings.catch_warnings(action="ignore"):  # that TorchScript is old
        tensors: dict[str, Tensor] = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location="cpu"
        ).state_dict()
    return {name: tensor for name, tensor in tensors.items() if name not in _SETTINGS}
