"""Golden files: what a release wrote once must be read for ever, and must not change by accident.

The files of a released version are never edited. A new field that old readers may ignore is set in a file of
`v1.1`, `v1.2`, ..., beside the one without it. A change that breaks these tests otherwise needs a new
`SCHEMA_VERSION`, new files beside the old ones, and a reader for both.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from pydantic import BaseModel

from schemas.codec import decode_dead_letter, decode_image_event, decode_judgement, encode
from schemas.codec import encode_dead_letter as encode_letter
from schemas.collection import CollectionMetadata, PointPayload
from schemas.headers import SCHEMA, header
from tests.unit.schemas import records
from tests.unit.schemas.records import GOLDEN, RELEASED, newest

FOLDER = Path(__file__).parent / "golden"
FILES = [(folder, name) for folder, files in RELEASED.items() for name in files]

DECODERS: dict[str, Callable[[bytes], BaseModel]] = {
    "image_event.json": decode_image_event,
    "image_embedded.msgpack": decode_judgement,
    "image_gone.msgpack": decode_judgement,
    "image_rejected.msgpack": decode_judgement,
    "dead_letter.json": decode_dead_letter,
    "collection.json": CollectionMetadata.model_validate_json,
    "point_indexed.json": PointPayload.model_validate_json,
    "point_rejected.json": PointPayload.model_validate_json,
    "point_gone.json": PointPayload.model_validate_json,
}


def golden(name: str, folder: str | None = None) -> bytes:
    return (FOLDER / (folder or newest(name)) / name).read_bytes()


def raw(name: str, folder: str | None = None) -> Any:
    data = golden(name, folder)
    return msgpack.unpackb(data) if name.endswith(".msgpack") else json.loads(data)


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """The dotted name of every field in a nested value, lists entered as `[]`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{prefix}{name}"
            yield from paths(inner, f"{prefix}{name}.")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from paths(inner, f"{prefix}[].")


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_everything_ever_released_is_read_as_the_same_record(folder: str, name: str) -> None:
    assert DECODERS[name](golden(name, folder)) == RELEASED[folder][name]


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_this_release_writes_the_same_bytes_as_the_one_that_had_the_same_fields(folder: str, name: str) -> None:
    assert records.written(RELEASED[folder][name]) == golden(name, folder)


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_no_field_of_a_golden_file_was_renamed_or_removed(folder: str, name: str) -> None:
    known = set(paths(DECODERS[name](golden(name, folder)).model_dump(exclude_none=True)))
    assert set(paths(raw(name, folder))) <= known, "a reader of this release no longer knows these fields"


@pytest.mark.parametrize("name", [name for name in GOLDEN if not name.startswith("point_")])
def test_every_field_that_exists_is_set_in_the_golden_file(name: str) -> None:
    everything = set(paths(GOLDEN[name].model_dump()))
    assert set(paths(raw(name))) == everything, "a new field must be set in the golden file too"


def test_the_golden_points_set_every_field_of_the_payload_between_them() -> None:
    seen = {field for name in GOLDEN if name.startswith("point_") for field in raw(name)}
    assert seen == set(PointPayload.model_fields)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.endswith(".msgpack")])
def test_a_golden_judgement_holds_nothing_but_plain_messagepack(name: str) -> None:
    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(inner) for key, inner in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return isinstance(value, str | int | float | bytes | bool)

    assert plain(raw(name)), "extension types would tie other readers to our library"


def test_the_vector_is_raw_little_endian_float32() -> None:
    assert raw("image_embedded.msgpack")["vector"] == bytes.fromhex("0000003f000000bf0000003f000000bf")


def test_the_original_of_a_dead_letter_is_standard_base64() -> None:
    letter = raw("dead_letter.json")
    assert letter["original"] == "+//+eyJub3QiOiAidXRmLTgifQA="
    assert letter["origin"]["headers"][1] == ["x-raw", "+/8A"]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (records.IMAGE_EVENT, "image_event"),
        (records.IMAGE_EMBEDDED, "image_embedded"),
        (records.IMAGE_GONE, "image_gone"),
        (records.IMAGE_REJECTED, "image_rejected"),
    ],
)
def test_the_message_names_its_schema_and_is_keyed_by_bucket_and_key(record: Any, name: str) -> None:
    message = encode(record)
    assert header(message.headers, SCHEMA) == f"{name}/1".encode()
    assert message.key == f"photos/{records.KEY}".encode()


def test_a_dead_letter_keeps_the_key_of_its_record_and_names_the_reason_in_a_header() -> None:
    message = encode_letter(records.DEAD_LETTER)
    assert message.key == b"photos/\xff\xfe"
    assert header(message.headers, SCHEMA) == b"dead_letter/1"
    assert header(message.headers, "sightline-reason") == b"malformed_record"
