"""`sightline models`: which models there are, what each is for, and whether it is on this machine."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from encoders.catalogue import CATALOGUE, Model
from encoders.encoder import Modality
from encoders.presence import Presence, Where, look_up, presence_of
from runtime.lifecycle import ExitCode

_TAKES = {Modality.IMAGES_AND_WORDS: "images, words", Modality.IMAGES: "images", Modality.WORDS: "words"}
_WIDE = 170
"""Characters of a line where nobody looks on: enough that no cell is broken, so that `grep` finds it."""


def list_models(*, as_json: bool) -> ExitCode:
    """Print every model of the catalogue."""
    found = [(model, presence_of(model)) for model in CATALOGUE]
    if as_json:
        print(json.dumps([_answer(model, presence) for model, presence in found], indent=2))
        return ExitCode.CLEAN
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDE)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("takes")
    table.add_column("dim", justify="right")
    table.add_column("params", justify="right")
    table.add_column("weights", justify="right")
    table.add_column("licence")
    table.add_column("where")
    table.add_column("for")
    for model, presence in found:
        table.add_row(
            model.name,
            _TAKES[model.modality],
            "" if model.dimension is None else str(model.dimension),
            _count(_parameters(model, presence)),
            _bytes(_size(model, presence)),
            model.licence,
            presence.where,
            model.about,
        )
    console.print(table)
    console.print(
        "\nAny other model of open_clip works as well: ARCHITECTURE/TAG, ARCHITECTURE//path/to/weights, or a folder.\n"
        "sightline models NAME says where a model was sought, and how to get it."
    )
    return ExitCode.CLEAN


def show_model(name: str, *, as_json: bool) -> ExitCode:
    """Print one model, of the catalogue or not. Raises `ConfigurationError` for a name that is nobody's."""
    model = look_up(name)
    presence = presence_of(model)
    if as_json:
        print(json.dumps(_answer(model, presence), indent=2))
        return ExitCode.CLEAN
    size = _size(model, presence)
    lines = {
        "for": model.about,
        "takes": model.modality.value,
        "dimension": "" if model.dimension is None else str(model.dimension),
        "parameters": _count(_parameters(model, presence)),
        "weights": _bytes(size),
        "licence": model.licence,
        "on the hub": model.repository,
        "also called": ", ".join(model.also),
        "where": f"{presence.where}{'' if presence.path is None else f': {presence.path}'}",
        "looked in": presence.looked_in,
        "to have it": presence.remedy,
        "to use it": f"--model {model.name}",
    }
    print(model.name)
    for label, text in lines.items():
        if text:
            print(f"  {label + ':':<13}{text}")
    return ExitCode.CLEAN


def _answer(model: Model, presence: Presence) -> dict[str, Any]:
    return {
        "name": model.name,
        "modality": model.modality.name.lower(),
        "dimension": model.dimension,
        "parameters": _parameters(model, presence),
        "bytes": _size(model, presence),
        "licence": model.licence,
        "about": model.about,
        "repository": model.repository or None,
        "also": list(model.also),
        "where": presence.where.value,
        "ready": presence.where in (Where.BUILT_IN, Where.ON_DISK),
        "path": None if presence.path is None else str(presence.path),
        "looked_in": presence.looked_in or None,
        "remedy": presence.remedy or None,
    }


def _parameters(model: Model, presence: Presence) -> int | None:
    return model.parameters if presence.parameters is None else presence.parameters


def _size(model: Model, presence: Presence) -> int | None:
    return model.size if presence.size is None else presence.size


def _count(number: int | None) -> str:
    if not number:
        return "" if number is None else "none"
    return (
        f"{number / 1e9:.1f} B"
        if number >= 1e9
        else f"{number / 1e6:.0f} M"
        if number >= 1e7
        else f"{number / 1e6:.1f} M"
    )


def _bytes(number: int | None) -> str:
    if not number:
        return "" if number is None else "none"
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
