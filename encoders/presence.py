"""Whether a model is on this machine, found without a network and without loading anything."""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from encoders.catalogue import (
    OPEN_CLIP_FILES,
    QWEN3,
    QWEN3_FOLDER,
    SMALL,
    SMALL_FOLDER,
    TOWER_FILE,
    TOWER_PATTERNS,
    Model,
    find_model,
    unknown_model,
)
from encoders.checkpoints import count_parameters
from schemas.errors import ConfigurationError


class Where(StrEnum):
    """Where a model is."""

    BUILT_IN = "built in"
    ON_DISK = "on disk"
    MISSING = "not here"
    REMOTE = "remote"


@dataclass(frozen=True)
class Presence:
    """Where a model is on this machine.

    `path` and `size` (bytes) are those of the weights, where there are any; `parameters` is None where only loading
    would tell. `looked_in` is where missing weights were sought, `remedy` what to do to have them.
    """

    where: Where
    path: Path | None = None
    size: int | None = None
    parameters: int | None = None
    looked_in: str = ""
    remedy: str = ""


def look_up(name: str) -> Model:
    """The catalogue's entry of that name, or one made from what open_clip knows. Raises `ConfigurationError`."""
    model = find_model(name)
    if model is not None:
        return replace(model, name=name) if model.is_remote else model
    qwen3 = find_model(QWEN3)
    if qwen3 is not None and name.startswith(QWEN3_FOLDER):
        return replace(qwen3, name=name, parameters=None, size=None, repository="", licence="of the weights")
    try:
        from encoders.weights import check_name, describe
    except ImportError as error:
        raise ConfigurationError(
            f"there is no usual model {name!r}; whether open_clip has it only open_clip can tell, and "
            f"{error.name or error} is not installed: install 'sightline[embedder]'"
        ) from error
    try:
        check_name(name)
    except ConfigurationError as error:
        raise unknown_model(name, error) from error
    return describe(name)


def presence_of(model: Model) -> Presence:
    """Where a model of `CATALOGUE` or of `look_up` is."""
    if model.is_remote:
        return Presence(Where.REMOTE, remedy=f"put the service's token into {model.token}")
    if model.name == SMALL:
        path = SMALL_FOLDER / OPEN_CLIP_FILES[0]
        if path.is_file():
            return _there(path, Where.BUILT_IN)
        return Presence(Where.MISSING, looked_in=str(SMALL_FOLDER), remedy="install Sightline again")
    if model.name.startswith((QWEN3, QWEN3_FOLDER)):
        return _of_qwen3(model)
    if model.repository:
        return _in_cache(model)
    if model.parameters == 0:
        return Presence(Where.BUILT_IN)
    return _of_path(model.name)


def _there(path: Path, where: Where = Where.ON_DISK) -> Presence:
    try:
        parameters = count_parameters(path)
    except ConfigurationError as error:
        # One broken file must not take the list from those who came for another model.
        return Presence(where, path, path.stat().st_size, remedy=str(error))
    return Presence(where, path, path.stat().st_size, parameters)


def _in_cache(model: Model) -> Presence:
    try:
        from encoders import hub_cache
    except ImportError as error:
        return _without(error)
    found = hub_cache.find_cached(model.repository, model.files)
    tower = ""
    if model.tower and hub_cache.find_cached(model.tower, [TOWER_FILE]) is None:
        tower = hub_cache.download_command(model.tower, *TOWER_PATTERNS)
    if found is not None:
        there = _there(found)
        return replace(there, remedy=there.remedy or tower)
    own = hub_cache.download_command(model.repository, *model.patterns)
    return Presence(
        Where.MISSING,
        looked_in=str(hub_cache.cache_of(model.repository)),
        remedy=f"{own} && {tower}" if tower else own,
    )


def _of_qwen3(model: Model) -> Presence:
    try:
        from encoders import hub_cache
        from encoders.qwen3_files import find_files
    except ImportError as error:
        return _without(error)
    try:
        folder = find_files(model.name).weights
    except ConfigurationError as error:
        looked_in = str(hub_cache.cache_of(model.repository)) if model.repository else ""
        return Presence(Where.MISSING, looked_in=looked_in, remedy=str(error))
    shards = list(folder.glob("*.safetensors"))
    size, parameters = sum(one.stat().st_size for one in shards), sum(count_parameters(one) or 0 for one in shards)
    return Presence(Where.ON_DISK, folder, size, parameters)


def _without(error: ImportError) -> Presence:
    return Presence(
        Where.MISSING, remedy=f"install 'sightline[embedder]', since {error.name or error} is not installed"
    )


def _of_path(name: str) -> Presence:
    from encoders.weights import find_weights

    try:
        source = find_weights(name)
    except ConfigurationError as error:
        return Presence(Where.MISSING, remedy=str(error))
    if source.random:
        return Presence(Where.BUILT_IN)
    return Presence(Where.MISSING) if source.checkpoint is None else _there(source.checkpoint)
