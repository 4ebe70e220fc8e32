"""What must not be read in a log, whoever put it there."""

import io
import json
import logging

import httpx
import pytest

from runtime import log
from runtime.access.api_keys import make_key
from runtime.access.scopes import Scope
from runtime.redaction import redacted

KEY, _ = make_key("a", [Scope.SEARCH])
OWN = "E3w-9_DJJ1C3C9F5zIEYLztckd3XLBWh_OqsA81lGII"
PRESIGNED = (
    "https://bucket.s3.amazonaws.com/photo.jpg?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIDEXAMPLE%2F20240515%2Fus-east-1&X-Amz-Date=20240515T000000Z&X-Amz-Expires=300"
    "&X-Amz-Security-Token=IQoJb3JpZ2lu&X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027"
)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"the key sightline_{OWN} was sent", OWN),
        (f"{{'authorization': 'Bearer sightline_{OWN}'}}", OWN),
        ("Authorization: Bearer abcdefgh.12345~x", "abcdefgh.12345~x"),
        ('"authorization": "Basic YW55OnNlY3JldA=="', "YW55OnNlY3JldA"),
        ("token hf_abcdefghijklmnopqrstuvwxyz012345 refused", "abcdefghijklmnopqrstuvwxyz012345"),
        ("r8_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789a", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        (PRESIGNED, "fe5f80f77d5fa3beca038a248ff027"),
        (PRESIGNED, "IQoJb3JpZ2lu"),
        (PRESIGNED, "AKIDEXAMPLE"),
        ("https://x.example/a?AWSAccessKeyId=AKID&Signature=abc%2B&Expires=1", "abc%2B"),
        ("https://x.example/a?api_key=topsecret", "topsecret"),
        ("GET /v1/search?q=x&token=topsecret HTTP/1.1", "topsecret"),
        ("https://user:topsecret@kafka.example/path", "topsecret"),
        ("redis://:topsecret@cache", "topsecret"),
    ],
)
def test_a_secret_of_a_known_form_is_taken_out_and_the_rest_stays(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redacted(text)
    assert "***" in redacted(text)
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "photos/2024/key.jpg was rejected",
        "Basic constraints of bearer tokens",
        "http://127.0.0.1:8080/v1/search?q=a+key+on+a+token&limit=5",
        "https://example.com/a@b.jpg",
        '{"action": "batch_done", "seconds": 0.12, "key": "a=b&c=d"}',
        "sightline_http_requests_total",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text


def test_every_line_goes_through_it_and_stays_json() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        log.configure("DEBUG", stream=stream)
        told = log.Log("test")
        told.info("asked", f"somebody sent {KEY}", headers={"authorization": f"Bearer {KEY}"}, url=PRESIGNED)
        logging.getLogger("a.library").debug("GET %s", PRESIGNED)
        try:
            httpx.Response(403, request=httpx.Request("GET", PRESIGNED)).raise_for_status()
        except httpx.HTTPStatusError:
            told.error("failed", "the store refused")
        logging.getLogger("httpx").info("HTTP Request: GET %s", PRESIGNED)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    written = stream.getvalue()
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["action"] for line in lines] == ["asked", "log", "failed"], "httpx does not log requests at all"
    assert "photo.jpg" in written
    for secret in (KEY.removeprefix("sightline_"), "fe5f80f77d5fa3beca038a248ff027", "IQoJb3JpZ2lu", "AKIDEXAMPLE"):
        assert secret not in written
