"""From a model's name to open_clip's architecture and the weights on this machine.

A name is one of

- `sightline-small`: the model that comes with Sightline;
- `ARCHITECTURE/TAG`: weights that open_clip knows by a tag, as `ViT-B-32/laion2b_s34b_b79k`;
- `ARCHITECTURE/random`: seeded random weights, for tests and benchmarks;
- `ARCHITECTURE/PATH`: a checkpoint file or a folder with one; PATH begins with `/`, `./`, `../` or `~`, as in
  `ViT-B-32//models/clip.safetensors`;
- `PATH`: a folder with `open_clip_config.json` and a checkpoint;
- `hf-hub:ORGANISATION/REPOSITORY`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip

from encoders import hub_cache
from encoders.catalogue import SMALL, SMALL_FOLDER, Model, choices_of, name_here
from encoders.checkpoints import PREFERRED, SUFFIXES, check_whole, find_checkpoint
from encoders.encoder import Modality
from encoders.hub_weights import HubFiles, text_tower, weights_file
from encoders.spelling import did_you_mean
from schemas.collection import model_label
from schemas.errors import ConfigurationError

CONFIG = "open_clip_config.json"
"""What open_clip calls the description of a model: architecture and preprocessing."""


@dataclass(frozen=True)
class Source:
    """The arguments of open_clip's `create_model`, and the name that the model goes by in the index (`label`).

    `checkpoint` is the file that holds the weights, where it is known before the model is made; `hub` is what open_clip
    has to download for it.
    """

    label: str
    architecture: str
    pretrained: str | None = None
    random: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    hub: HubFiles | None = None


def check_name(name: str) -> None:
    """Raise `ConfigurationError` for a name that can be no model's, whatever is on this machine."""
    if name == SMALL or name.startswith("hf-hub:") or is_path(name):
        return
    here = name_here(name)
    if here is not None:
        raise ConfigurationError(f"{name} is called {here} here")
    architecture, _, weights = name.partition("/")
    known = open_clip.list_models()
    if architecture not in known:
        papers = name.replace("/", "-", 1)
        if papers in known:
            raise ConfigurationError(f"{name} is called {papers} here, and names no weights; {_which(papers)}")
        raise ConfigurationError(
            f"open_clip knows no architecture called {architecture!r}{did_you_mean(architecture, known)}"
        )
    if not weights:
        raise ConfigurationError(f"{name} names no weights; {_which(architecture)}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights == "random" or is_path(weights) or weights in tags:
        return
    # open_clip takes it in other spellings too, but a model that has two names would have two collections.
    alike = [tag for tag in tags if tag.casefold().replace("-", "_") == weights.casefold().replace("-", "_")]
    if alike:
        raise ConfigurationError(f"{name} is called {architecture}/{alike[0]} here")
    if not open_clip.get_pretrained_cfg(architecture, weights):
        raise ConfigurationError(
            f"open_clip knows no weights called {weights!r} for {architecture}{did_you_mean(weights, tags)} Known "
            f"are {_some(tags)}; a file is named as {architecture}//path/to/checkpoint"
        )


def find_weights(name: str) -> Source:
    """Where the weights for a name are. Raises `ConfigurationError`: what is missing, where it was sought, the remedy.

    Downloads nothing, but lets open_clip download a known tag where the hub can be reached.
    """
    check_name(name)
    if name == SMALL:
        return _folder(SMALL_FOLDER, label=SMALL)
    if name.startswith("hf-hub:"):
        repository = name.removeprefix("hf-hub:")
        wanted = HubFiles(repository)
        found = wanted.find(name)
        if found is not None:
            wanted = HubFiles(repository, (CONFIG,), what="the description and the weights")
            if wanted.find(name) is not None:
                return _folder(found.parent, label=model_label(name))
        return Source(model_label(name), name, checkpoint=found, hub=wanted)
    if is_path(name):
        return _folder(Path(name).expanduser(), label=model_label(name))
    architecture, _, weights = name.partition("/")
    if weights == "random":
        options = {"force_preprocess_cfg": shared_preprocessing(architecture)}
        return Source(name, architecture, random=True, options=options)
    if is_path(weights):
        # Such a file is handed to open_clip by name, so that it may end in .pt as well.
        path = _checkpoint(Path(weights).expanduser(), architecture, (*SUFFIXES, ".pt"))
        options = {"force_preprocess_cfg": shared_preprocessing(architecture)} | _said_beside(path)
        return Source(model_label(name), architecture, str(path), options=options, checkpoint=path)
    return _tag(name, architecture, weights)


def describe(name: str) -> Model:
    """What can be said of a model that is not in the catalogue. Raises `ConfigurationError` for a name that is none."""
    check_name(name)
    hub, config = None, None
    if name.startswith("hf-hub:"):
        hub = HubFiles(name.removeprefix("hf-hub:"))
        found = hub_cache.find_cached(hub.repository, [CONFIG])
        config = None if found is None else _read_config(found).get("model_cfg")
    elif is_path(name):
        path = Path(name).expanduser() / CONFIG
        config = _read_config(path).get("model_cfg") if path.is_file() else None
    else:
        architecture, _, weights = name.partition("/")
        config = open_clip.get_model_config(architecture)
        if not is_path(weights) and weights != "random":
            hub = _hub_of(architecture, weights)
    tower = text_tower(config)
    hub = hub or HubFiles("")
    dimension = config.get("embed_dim") if isinstance(config, dict) else None
    return Model(
        name,
        Modality.IMAGES_AND_WORDS,
        dimension,
        None,
        None,
        "of the weights",
        "A model of open_clip.",
        repository=hub.repository,
        files=hub.files,
        patterns=hub.patterns,
        tower="" if tower is None else tower.repository,
    )


def is_path(text: str) -> bool:
    """Whether a name, or what follows its architecture, names a place on this machine."""
    return text.startswith(("/", "./", "../", "~"))


def shared_preprocessing(architecture: str) -> dict[str, Any]:
    """The preprocessing that all known weights of an architecture share; open_clip's default where they differ.

    SigLIP looks at squashed images around 0.5; open_clip would know that from a tag only, not for a local file.
    """
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    configs = [_preprocessing_of(architecture, tag) for tag in tags]
    return configs[0] if configs and all(config == configs[0] for config in configs) else {}


def _which(architecture: str) -> str:
    usual = choices_of(architecture)
    tags = [f"{architecture}/{tag}" for tag in open_clip.list_pretrained_tags_by_model(architecture)]
    listed = _some(usual + [tag for tag in tags if tag not in usual], at_least=len(usual))
    return (
        f"write {architecture}/TAG, which is one of {listed}, or {architecture}//path/to/checkpoint, or "
        f"{architecture}/random for a test"
    )


def _some(names: list[str], at_least: int = 0) -> str:
    shown = max(6, at_least)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more or "not known"


def _folder(folder: Path, *, label: str) -> Source:
    config = folder / CONFIG
    if not config.is_file():
        if folder == SMALL_FOLDER:
            raise ConfigurationError(
                f"the model {SMALL}, which comes with Sightline, is missing: looked for {CONFIG} in {folder}; install "
                "Sightline again"
            )
        if not folder.is_dir():
            raise ConfigurationError(
                f"the model folder {folder} does not exist; check the path, relative ones begin at {Path.cwd()}"
            )
        raise ConfigurationError(
            f"the model folder {folder} has no {CONFIG}; name the architecture as well, for example "
            f"'ViT-B-32/{folder}', or put the model's configuration there: `hf download REPOSITORY --include "
            f"'open_clip*' --include '*token*' --local-dir {folder}` brings it with everything else"
        )
    described = _read_config(config)
    if "model_cfg" not in described:
        raise ConfigurationError(
            f"{config} describes no model of open_clip: it has no model_cfg. If it was made for another library, take "
            "the open_clip form of the weights, as `sightline models` lists them"
        )
    path = _checkpoint(folder, folder.name)
    return Source(label, f"local-dir:{folder}", checkpoint=path)


def _checkpoint(path: Path, architecture: str, suffixes: tuple[str, ...] = SUFFIXES) -> Path:
    if path.is_dir():
        found = find_checkpoint(path, suffixes)
        if found is None:
            there = sorted(one.name for one in path.iterdir())
            raise ConfigurationError(
                f"the folder {path} has no checkpoint for {architecture}: looked for {', '.join(PREFERRED)} and any "
                f"file ending in {', '.join(suffixes)}, and found {_some(there) if there else 'nothing'}; copy the "
                "weights there or name their file"
            )
        path = found
    if not path.is_file():
        raise ConfigurationError(
            f"the checkpoint {path} for {architecture} does not exist; check the path, relative ones begin at "
            f"{Path.cwd()}"
        )
    check_whole(path)
    return path


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON ({error}); copy or download it again") from error
    return config if isinstance(config, dict) else {}


def _said_beside(checkpoint: Path) -> dict[str, Any]:
    """What the description next to a checkpoint says of preprocessing and activation, where there is one."""
    path = checkpoint.with_name(CONFIG)
    config = _read_config(path) if path.is_file() else {}
    model, preprocessing = config.get("model_cfg"), config.get("preprocess_cfg")
    said: dict[str, Any] = {"force_preprocess_cfg": preprocessing} if isinstance(preprocessing, dict) else {}
    if isinstance(model, dict) and model.get("quick_gelu"):
        said["force_quick_gelu"] = True
    return said


def _preprocessing_of(architecture: str, tag: str) -> dict[str, Any]:
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {key: value for key, value in open_clip.get_pretrained_cfg(architecture, tag).items() if key in keys}


def _tag(name: str, architecture: str, tag: str) -> Source:
    config = open_clip.get_pretrained_cfg(architecture, tag)
    # Weights trained with QuickGELU are another function under GELU; open_clip only warns.
    options: dict[str, Any] = {"force_quick_gelu": True} if config.get("quick_gelu") else {}
    hub, tower = _hub_of(architecture, tag), text_tower(open_clip.get_model_config(architecture))
    others = () if tower is None or tower.cached() is not None else (tower,)
    found = None if hub is None else hub.find(name, *others)
    if found is None:
        return Source(name, architecture, tag, options=options, hub=hub)
    # By its path, since by the tag open_clip would ask the hub whether there is a newer one.
    options["force_preprocess_cfg"] = _preprocessing_of(architecture, tag)
    return Source(name, architecture, str(found), options=options, checkpoint=found)


def _hub_of(architecture: str, tag: str) -> HubFiles | None:
    """Where the weights of a tag are on the hub, if there."""
    repository, _, file = str(open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "")).rpartition("/")
    if not repository:
        return None
    return weights_file(repository, file, architecture) if file else HubFiles(repository)
