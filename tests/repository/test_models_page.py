"""docs/models.md speaks of the models that there are."""

import re

import pytest

from encoders.catalogue import CATALOGUE, Model
from encoders.encoder import Modality
from tests.repository.files import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", CATALOGUE, ids=lambda model: model.name)
def test_every_model_has_a_row_with_what_the_catalogue_says(model: Model) -> None:
    rows = re.findall(rf"^\| `{re.escape(model.name)}` \|(.+)\|$", PAGE, re.MULTILINE)
    takes, dimension, *_, licence = next(row for row in map(_cells, rows) if len(row) == 5)
    assert ("images" in takes) == (model.modality is not Modality.WORDS and model.name != "filename-tags")
    assert ("words" in takes) == (model.modality is not Modality.IMAGES)
    assert dimension == ("the model's" if model.dimension is None else str(model.dimension))
    assert licence == model.licence.replace("of the model", "the model's")


def test_the_table_of_costs_says_when_and_on_what_it_was_measured_and_how_to_do_it_again() -> None:
    costs = PAGE.partition("## What they cost")[2].partition("\n## ")[0]
    assert re.search(r"^Measured on \d{4}-\d\d-\d\d: .*torch", costs, re.MULTILINE)
    assert "make bench-models" in costs
    assert "| sightline-small |" in costs


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("|")]
