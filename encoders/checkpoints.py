"""Files of weights: which one a folder means, whether it is whole, and what it says of the model that it belongs to."""

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import ConfigurationError

PREFERRED = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""The order in which open_clip looks through a model's folder."""

SUFFIXES = (".safetensors", ".bin", ".pth")
"""Endings of the other files that open_clip takes, in its order: safetensors first."""

_LFS_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_MOST_HEADER = 100_000_000

Shapes = Mapping[str, tuple[int, ...]]
"""Of every tensor, by its name."""


def find_checkpoint(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Path | None:
    """The file that open_clip would load from a model's folder."""
    candidates = sorted(one for one in folder.iterdir() if one.suffix in suffixes and one.is_file())
    candidates.sort(key=lambda one: one.suffix != ".safetensors")
    named = [one for one in candidates if one.name in PREFERRED]
    return min(named, key=lambda one: PREFERRED.index(one.name)) if named else next(iter(candidates), None)


def check_whole(path: Path) -> None:
    """Raise `ConfigurationError` for a file of weights that can be seen to be cut short, or to be none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(_LFS_POINTER))
    if start == _LFS_POINTER:
        raise ConfigurationError(
            f"{path} holds no weights but a pointer that Git LFS left; run `git lfs pull` in its checkout, or download "
            "the file itself"
        )
    if path.suffix == ".safetensors":
        _, needed = _header(path)
        if size != needed:
            raise ConfigurationError(
                f"{path} is {'cut short' if size < needed else 'too long'}: by its own header it has {needed:,} bytes, "
                f"and there are {size:,}; copy or download it again"
            )
    elif start[:4] == _ZIP and not zipfile.is_zipfile(path):
        raise ConfigurationError(f"{path} is cut short after {size:,} bytes; copy or download it again")


def shapes(path: Path) -> Shapes:
    """The name and shape of every tensor in a safetensors file. Raises `ConfigurationError` if it is none."""
    return _header(path)[0]


def count_parameters(path: Path) -> int | None:
    """How many numbers a file holds; None where only loading it would tell."""
    return sum(map(math.prod, shapes(path).values())) if path.suffix == ".safetensors" else None


def misfit(there: Shapes, here: Shapes) -> str:
    """How the tensors of a file differ from those of a model: a clause for a person, empty where they do not.

    Positions come last: open_clip fits them to another length.
    """
    if not there.keys() & here.keys():
        layout = "as transformers lays them out" if any(name.startswith("vision_model.") for name in there) else ""
        first = next(iter(there), "nothing")
        return f"none of its tensors is one of the model's; it begins with {first}, {layout}".rstrip(", ")
    wrong = [name for name in here if name in there and here[name] != there[name]]
    wrong.sort(key=lambda name: "positional" in name)
    clauses = [
        f"{what}: {_and_more(sorted(names))}"
        for what, names in (("missing", here.keys() - there.keys()), ("unknown", there.keys() - here.keys()))
        if names
    ]
    if wrong:
        shown = f"{wrong[0]} ({_by(there[wrong[0]])} in the file, {_by(here[wrong[0]])} in the model)"
        clauses.append(f"of another shape: {_and_more([shown, *wrong[1:]])}")
    return "; ".join(clauses)


def _and_more(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _header(path: Path) -> tuple[dict[str, tuple[int, ...]], int]:
    """Every tensor's shape, and the bytes that the file must have."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _MOST_HEADER:
                raise ValueError(f"its header would have {length} bytes")
            text = file.read(length)
        if len(text) < length:
            raise ValueError("it ends within its header")
        tensors = {name: one for name, one in json.loads(text).items() if name != "__metadata__"}
        end = max((one["data_offsets"][1] for one in tensors.values()), default=0)
        return {name: tuple(one["shape"]) for name, one in tensors.items()}, 8 + length + end
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigurationError(f"{path} is no safetensors file ({error}); copy or download it again") from error
