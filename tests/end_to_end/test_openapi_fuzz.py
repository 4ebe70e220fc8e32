"""Requests drawn from the API's own description, good and bad ones: the process answers each as it says it does."""

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from imaging.samples import draw_samples
from tests.end_to_end.running import Running, log_actions, sightline, wait_for

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
"""Requests of each operation and kind."""

Case: TypeAlias = "schemathesis.Case[Any]"

SECRET = "hunter2-of-the-fuzzer"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Known:
    """What the index holds, by the names that parameters and fields have for it: by chance no request would hit it."""

    values: Mapping[str, list[Any]]
    of_paths: Mapping[str, Callable[[], Mapping[str, list[Any]]]] = field(default_factory=dict)
    """What must be made just before a path is asked: later requests push it out."""

    def at(self, path: str) -> "Known":
        """What is known of the parameters and fields of a path."""
        return Known({**self.values, **self.of_paths.get(path, dict)()})

    def put_into(self, place: Any, draw: st.DataObject) -> Any:
        """The same JSON with some values replaced by known ones."""
        if isinstance(place, dict):
            return {name: self._known(name, value, draw) for name, value in place.items()}
        if isinstance(place, list):
            return [self.put_into(one, draw) for one in place]
        return place

    def _known(self, name: str, value: Any, draw: st.DataObject) -> Any:
        if name in self.values and draw.draw(st.booleans()):
            return draw.draw(st.sampled_from(self.values[name]))
        return self.put_into(value, draw)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A whole process over a folder with good and bad pictures. URLs lead nowhere: fuzzers invent real ones."""
    folder = tmp_path_factory.mktemp("fuzz")
    photos = folder / "photos"
    draw_samples(photos, 20, seed=3, sizes=((160, 120), (200, 150)))
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    environment = {
        "SIGHTLINE_ENCODER__MODEL": "sightline-small",  # which tags, other than the fastest
        "SIGHTLINE_URLS__HOSTS": "nowhere.example",
        "SIGHTLINE_API_KEY": SECRET,
    }
    with sightline("up", photos, "--port", "0", data_dir=folder / "data", environment=environment) as running:
        wait_for(lambda: len(running.images()) == 20 and running.images("rejected"), "the index", patience=180)
        yield running


@pytest.fixture(scope="module")
def known(up: Running) -> Known:
    images = [*up.images().values(), *up.images("rejected").values()]
    folder = str(up.get("/v1/status")["source"])
    picture = up.client.get(f"{up.url}/v1/images/{images[0]['id']}/original").content

    def search() -> dict[str, list[Any]]:
        made = up.client.post(f"{up.url}/api/search-by-image", files={"image": picture}).json()
        return {"search_id": [made["search_id"]]}

    def job() -> dict[str, list[Any]]:
        made = up.client.post(f"{up.url}/tag/directory", json={"directory_path": folder}).json()
        return {"id": re.findall(r"[0-9a-f-]{36}", made["message"])}

    pages = [up.get("/v1/images", limit=3), up.get("/v1/search", q="red", limit=3)]
    return Known(
        {
            "id": [image["id"] for image in images],
            "cursor": [page["next_cursor"] for page in pages],
            "bucket": [images[0]["bucket"]],
            "key": [image["key"] for image in images],
            "tag": ["fox", "red"],
            "text": ["a red fox", "four blue stars"],
            "format": ["jpeg", "png"],
            "directory_path": [folder],
            "image_path": [f"{folder}/{image['key']}" for image in images],
            "image_base64": [base64.b64encode(picture).decode()],
            **{name: [picture] for name in ("image", "photo", "file")},
        },
        {"/api/search-results/{search_id}": search, "/tag/directory/{id}": job},
    )


@pytest.fixture(scope="module")
def api(up: Running) -> BaseSchema:
    schema = schemathesis.openapi.from_dict(_without_tuples(up.get("/openapi.json")))
    schema.config.update(base_url=up.url)
    return schema


def _without_tuples(schema: Any) -> Any:
    """The same with tuples as arrays of any of their items: schemathesis cannot judge `prefixItems` within `items`."""
    if isinstance(schema, list):
        return [_without_tuples(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _without_tuples(one) for name, one in schema.items() if name != "prefixItems"}
    if "prefixItems" in schema:
        plain["items"] = {"anyOf": _without_tuples(schema["prefixItems"])}
    return plain


def errors_are_problems(_: Any, response: schemathesis.Response, case: Case) -> bool | None:
    """Every error tells what, and what to do (RFC 9457)."""
    if response.status_code < 400:
        return None
    kind = (response.headers.get("content-type") or [""])[0]
    assert kind.startswith("application/problem+json"), f"{response.status_code} as {kind!r}"
    problem = response.json()
    assert problem["type"].startswith("urn:sightline:problem:")
    assert problem["status"] == response.status_code
    assert all(isinstance(problem[name], str) and problem[name] for name in ("title", "detail", "remedy"))
    return None


CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    errors_are_problems,
]


def ask(operation: Any, mode: GenerationMode, known: Known) -> set[int]:
    """Ask an operation many times, judging each answer; the statuses that were answered."""
    statuses: set[int] = set()
    here = known.at(operation.path)

    # Shrinking takes minutes where each step is a request, and requests are short as they are.
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), draw=st.data())
    def answered_as_described(case: Case, draw: st.DataObject) -> None:
        for part in ("path_parameters", "query", "body"):
            setattr(case, part, here.put_into(getattr(case, part), draw))
        response = case.call(timeout=60)
        # What is no HTTP at all never comes as far as the API.
        assume(response.content != b"Invalid HTTP request received.")
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    with suppress(Unsatisfiable):  # an operation that takes nothing cannot be asked wrongly
        answered_as_described()
    return statuses


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_each_request_is_answered_as_the_description_says(
    up: Running, api: BaseSchema, known: Known, mode: GenerationMode
) -> None:
    failures: dict[str, str] = {}
    for found in api.get_all_operations():
        assert isinstance(found, Ok), found.err()
        operation = found.ok()
        try:
            statuses = ask(operation, mode, known)
        except (Exception, ExceptionGroup) as failure:
            failures[operation.label] = str(failure)
            continue
        if mode is GenerationMode.POSITIVE and not any(status < 400 for status in statuses):
            failures[operation.label] = f"it was never asked well: {sorted(statuses)}"
    assert not failures, "\n\n".join(f"{label}\n{failure}" for label, failure in failures.items())
    assert "request_failed" not in log_actions(up.log)
    assert SECRET not in up.log.read_text()
