"""Weights in an archive of TorchScript, as OpenAI published CLIP: a program with its tensors, which are all we take."""

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import load_state_dict

from encoders.checkpoints import Shapes

_MASK = "attn_mask"
"""A constant of causal attention. Tracing makes a weight of it; the model has it anyway."""


def is_torchscript(path: Path) -> bool:
    """Whether torch would read a file as TorchScript. No other kind of its archives keeps constants."""
    if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    # Torch takes the first entry's folder for the archive's, and reads an archive without constants as a pickle.
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
    with _quietly():
        # Otherwise torch takes only pickles of tensors. It reads no pickle here, but has TorchScript's loader read it.
        keys = open_clip.load_checkpoint(model, str(path), strict=False, weights_only=False)
    wrong = [*keys.missing_keys, *_weights(keys.unexpected_keys)]
    if wrong:
        raise ValueError(f"the archive and the model differ in {wrong[0]}")


def torchscript_shapes(path: Path) -> Shapes:
    """The name and shape of every weight in an archive."""
    with _quietly():
        tensors = load_state_dict(str(path), weights_only=False)
    return {name: tuple(tensors[name].shape) for name in _weights(tensors)}


def _weights(names: Any) -> list[str]:
    return [name for name in names if name.rpartition(".")[2] != _MASK]


def _quietly() -> "warnings.catch_warnings[None]":
    # Torch warns that TorchScript is old, and that the file is one.
    return warnings.catch_warnings(action="ignore")
