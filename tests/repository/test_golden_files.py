"""Golden files are complete: every record type, every version ever released."""

import importlib
import pkgutil
from typing import get_args

from pydantic import BaseModel

import schemas
from docs.asyncapi import MESSAGES
from schemas.codec import SCHEMA_VERSION
from tests.repository.files import ROOT
from tests.unit.schemas.records import RELEASED

GOLDEN = ROOT / "tests" / "unit" / "schemas" / "golden"


def record_types() -> set[str]:
    """The `type` of every model in `schemas` that has one."""
    found: set[str] = set()
    for info in pkgutil.iter_modules(schemas.__path__):
        for model in vars(importlib.import_module(f"schemas.{info.name}")).values():
            if isinstance(model, type) and issubclass(model, BaseModel) and "type" in model.model_fields:
                found |= set(get_args(model.model_fields["type"].annotation))
    return found


def test_every_record_type_has_a_golden_file_in_every_version() -> None:
    assert record_types() == {"image_event", "image_embedded", "image_gone", "image_rejected", "dead_letter"}
    for version in range(1, SCHEMA_VERSION + 1):
        stems = {path.stem for path in (GOLDEN / f"v{version}").iterdir()}
        assert record_types() <= stems, f"golden/v{version} lacks some"


def test_every_golden_file_is_tested_and_of_a_version_that_exists() -> None:
    files = {(path.parent.name, path.name) for path in GOLDEN.glob("*/*")}
    assert files == {(folder, name) for folder, names in RELEASED.items() for name in names}
    versions = {int(folder.removeprefix("v").partition(".")[0]) for folder, _ in files}
    assert versions == set(range(1, SCHEMA_VERSION + 1))


def test_every_record_type_is_on_the_asyncapi_page() -> None:
    assert {spec.name for messages in MESSAGES.values() for spec in messages} == record_types()
