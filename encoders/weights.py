"""From a model's name to open_clip's architecture and the weights on this machine.

A name is one of

- `ARCHITECTURE/TAG`: weights that open_clip knows by a tag, as `ViT-B-32/laion2b_s34b_b79k`;
- `ARCHITECTURE/random`: seeded random weights, for tests and benchmarks;
- `ARCHITECTURE/PATH`: a checkpoint file or a folder with one; PATH begins with `/`, `./`, `../` or `~`, as in
  `ViT-B-32//models/clip.safetensors`;
- `PATH`: a folder with `open_clip_config.json` and a checkpoint;
- `hf-hub:ORGANISATION/REPOSITORY`.
"""

import socket
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import open_clip
from huggingface_hub import constants as hub

from encoders.spelling import did_you_mean
from schemas.collection import model_label
from schemas.errors import ConfigurationError

_CHECKPOINTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class Source:
    """The arguments of open_clip's `create_model`, and the name that the model goes by in the index (`label`)."""

    label: str
    architecture: str
    pretrained: str | None = None
    random: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def check_name(name: str) -> None:
    """Raise `ConfigurationError` for a name that can be no model's, whatever is on this machine."""
    if name.startswith("hf-hub:") or _is_path(name):
        return
    architecture, _, weights = name.partition("/")
    known = open_clip.list_models()
    if architecture not in known:
        raise ConfigurationError(
            f"open_clip knows no architecture called {architecture!r}{did_you_mean(architecture, known)}"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not weights:
        raise ConfigurationError(
            f"{name} names no weights; write {architecture}/TAG, where TAG is {_some(tags)}, or "
            f"{architecture}//path/to/checkpoint, or {architecture}/random for a test"
        )
    if weights != "random" and not _is_path(weights) and not open_clip.get_pretrained_cfg(architecture, weights):
        raise ConfigurationError(
            f"open_clip knows no weights called {weights!r} for {architecture}{did_you_mean(weights, tags)} Known "
            f"are {_some(tags)}; a file is named as {architecture}//path/to/checkpoint"
        )


def find_weights(name: str) -> Source:
    """Where the weights for a name are. Raises `ConfigurationError`: what is missing, where it was sought, the remedy.

    Downloads nothing, but lets open_clip download a known tag where the hub can be reached.
    """
    check_name(name)
    if name.startswith("hf-hub:"):
        repository = name.removeprefix("hf-hub:")
        _require_on_hub(name, repository, files=_CHECKPOINTS[:2])
        return Source(label=model_label(name), architecture=name)
    if _is_path(name):
        return _folder(Path(name).expanduser())
    architecture, _, weights = name.partition("/")
    options: dict[str, Any] = {"force_preprocess_cfg": _preprocessing(architecture)}
    if weights == "random":
        return Source(name, architecture, random=True, options=options)
    if _is_path(weights):
        checkpoint = _checkpoint(Path(weights).expanduser(), architecture)
        return Source(model_label(name), architecture, str(checkpoint), options=options)
    return _tag(name, architecture, weights)


def _some(tags: list[str]) -> str:
    more = f" and {len(tags) - 6} more" if len(tags) > 6 else ""
    return ", ".join(tags[:6]) + more or "not known"


def _is_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~"))


def _folder(folder: Path) -> Source:
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise ConfigurationError(
            f"the model folder {folder} has no open_clip_config.json; name the architecture as well, for example "
            f"'ViT-B-32/{folder}', or put the model's configuration there"
        )
    _checkpoint(folder, folder.name)
    return Source(label=model_label(str(folder)), architecture=f"local-dir:{folder}")


def _checkpoint(path: Path, architecture: str) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        preferred = [path / name for name in _CHECKPOINTS]
        others = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES)
        found = next((one for one in [*preferred, *others] if one.is_file()), None)
        if found is not None:
            return found
        raise ConfigurationError(
            f"the folder {path} has no checkpoint for {architecture}: looked for {', '.join(_CHECKPOINTS)} and any "
            f"file ending in {', '.join(_SUFFIXES)}; copy the weights there or name their file"
        )
    raise ConfigurationError(
        f"the checkpoint {path} for {architecture} does not exist; check the path, relative ones begin at {Path.cwd()}"
    )


def _tag(name: str, architecture: str, tag: str) -> Source:
    config = open_clip.get_pretrained_cfg(architecture, tag)
    repository, _, file = str(config.get("hf_hub", "")).rpartition("/")
    if repository:
        _require_on_hub(name, repository, files=(file,) if file else _CHECKPOINTS[:2])
    # Weights trained with QuickGELU are another function under GELU; open_clip only warns.
    quick = {"force_quick_gelu": True} if config.get("quick_gelu") else {}
    return Source(name, architecture, tag, options=quick)


def _require_on_hub(name: str, repository: str, files: Iterable[str]) -> None:
    files = list(files)
    if any(isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str) for file in files):
        return
    obstacle = _hub_obstacle()
    if obstacle is not None:
        raise ConfigurationError(
            f"the weights of {name} are not on this machine: looked for {' or '.join(files)} of {repository} in "
            f"{hub.HF_HUB_CACHE}, and {obstacle}. On a machine with a network run `hf download {repository}` and copy "
            f"that folder here, or name a checkpoint by its path, as in 'ViT-B-32//models/clip.safetensors'"
        )


def _hub_obstacle() -> str | None:
    """Why the hub cannot be asked, found in seconds; its own client tries for most of a minute."""
    if hub.HF_HUB_OFFLINE:
        return "downloads are switched off by HF_HUB_OFFLINE"
    address = urlsplit(hub.ENDPOINT)
    if address.scheme in urllib.request.getproxies():
        return None
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=5).close()
    except OSError as error:
        return f"{address.hostname} cannot be reached ({error})"
    return None


def _preprocessing(architecture: str) -> dict[str, Any]:
    """The preprocessing that all known weights of an architecture share; open_clip's default where they differ.

    SigLIP looks at squashed images around 0.5; open_clip would know that from a tag only, not for a local file.
    """
    keys = ("mean", "std", "interpolation", "resize_mode")
    configs = [
        {key: value for key, value in open_clip.get_pretrained_cfg(architecture, tag).items() if key in keys}
        for tag in open_clip.list_pretrained_tags_by_model(architecture)
    ]
    return configs[0] if configs and all(config == configs[0] for config in configs) else {}
