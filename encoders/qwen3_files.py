"""From a Qwen3 model's name to its files on this machine. Nothing is downloaded: the weights are 8 GB.

- `qwen3-4b`: in the model hub's cache, Qwen3-4B itself or the text encoder of Z-Image-Turbo;
- `qwen3:FOLDER`: a folder with config.json, *.safetensors and a tokenizer, or Z-Image-Turbo's own layout: the folder
  above `text_encoder` and `tokenizer`, or `text_encoder` itself.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders import hub_cache
from encoders.catalogue import QWEN3, QWEN3_FOLDER
from encoders.checkpoints import check_whole
from schemas.errors import ConfigurationError

REPOSITORY = "Qwen/Qwen3-4B"
Z_IMAGE = "Tongyi-MAI/Z-Image-Turbo"

_INDEX = "model.safetensors.index.json"
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt")


@dataclass(frozen=True)
class Qwen3Files:
    """The model's name in answers, and the folders of its weights and of its tokenizer."""

    label: str
    weights: Path
    tokenizer: Path

    @property
    def config(self) -> Path:
        """What describes the model."""
        return self.weights / "config.json"

    @property
    def vocabulary(self) -> list[Path]:
        """The files that decide how a text becomes tokens."""
        return [file for name in _VOCABULARY if (file := self.tokenizer / name).is_file()]


def find_files(name: str) -> Qwen3Files:
    """The files of a model. Raises `ConfigurationError`: what is missing, where it was sought, the remedy."""
    if importlib.util.find_spec("transformers") is None:
        raise ConfigurationError(
            f"the model {name} needs transformers, which is not installed; install 'sightline[transformers]'"
        )
    if name == QWEN3:
        files = _cached()
    else:
        folder = Path(name.removeprefix(QWEN3_FOLDER)).expanduser()
        if not folder.is_dir():
            raise ConfigurationError(
                f"there is no folder {folder} for the model {name}; check the path, relative ones begin at {Path.cwd()}"
            )
        files = _layout(f"{QWEN3_FOLDER}{folder.resolve().name}", folder)
    _check(files)
    return files


def _cached() -> Qwen3Files:
    for repository, config in ((REPOSITORY, "config.json"), (Z_IMAGE, "text_encoder/config.json")):
        found = hub_cache.find_cached(repository, [config])
        if found is not None:
            return _layout(QWEN3, found.parent)
    raise ConfigurationError(
        f"the weights of {QWEN3} are not on this machine: looked for {REPOSITORY} in {hub_cache.cache_of(REPOSITORY)} "
        f"and for {Z_IMAGE} in {hub_cache.cache_of(Z_IMAGE)}. Where there is a network run "
        f"`{hub_cache.download_command(REPOSITORY)}` (8 GB); to bring them here add `--local-dir FOLDER`, copy that "
        f"folder, and name it: --model {QWEN3_FOLDER}/path/to/FOLDER"
    )


def _layout(label: str, folder: Path) -> Qwen3Files:
    if (folder / "text_encoder" / "config.json").is_file():
        return Qwen3Files(label, folder / "text_encoder", folder / "tokenizer")
    beside = folder.parent / "tokenizer"
    own = any((folder / name).is_file() for name in _VOCABULARY)
    return Qwen3Files(label, folder, beside if not own and beside.is_dir() else folder)


def _check(files: Qwen3Files) -> None:
    if not files.config.is_file():
        raise ConfigurationError(f"{files.weights} has no config.json, so it is no folder of a Qwen3 model; {_AGAIN}")
    kind = _read(files.config).get("model_type")
    if kind != "qwen3":
        raise ConfigurationError(
            f"{files.config} describes a model of the type {kind!r}, not qwen3; name another folder"
        )
    index = files.weights / _INDEX
    named = set(_read(index).get("weight_map", {}).values()) if index.is_file() else set()
    there = {file.name for file in files.weights.glob("*.safetensors")}
    missing = sorted(named - there) or ([] if there else ["*.safetensors"])
    if missing:
        raise ConfigurationError(f"{files.weights} lacks {', '.join(missing)}; {_AGAIN}")
    for name in sorted(named or there):
        check_whole(files.weights / name)
    if not files.vocabulary:
        raise ConfigurationError(
            f"{files.label} has no tokenizer in {files.tokenizer}: looked for {' or '.join(_VOCABULARY)}; {_AGAIN}"
        )


_AGAIN = f"`{hub_cache.download_command(REPOSITORY)} --local-dir FOLDER` brings all of it"


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON ({error}); copy or download it again") from error
    return read if isinstance(read, dict) else {}
