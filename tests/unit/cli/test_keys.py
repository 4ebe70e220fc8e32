"""`sightline keys`, and which gate the settings make."""

import json
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse
from typer.testing import CliRunner, Result

from cli.access import guarded, keys_file
from cli.main import app
from runtime.access.api_keys import read_keys
from runtime.access.gate import Gate
from runtime.log import Log
from runtime.settings import load_settings
from schemas.errors import ConfigurationError

KEY = re.compile(r"^sightline_[A-Za-z0-9_-]{43}$")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "api-keys.json"


def keys(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments, "--data-dir", str(file.parent)])


def made(file: Path, *arguments: str) -> str:
    result = keys(file, "new", *arguments)
    assert result.exit_code == 0, result.output
    text = result.stdout.strip()
    assert KEY.match(text)
    return text


def refusal(file: Path, *arguments: str) -> str:
    result = keys(file, *arguments)
    assert isinstance(result.exception, ConfigurationError), result.output
    return str(result.exception)


def test_a_key_is_printed_once_alone_on_stdout_and_kept_as_a_hash(file: Path) -> None:
    text = made(file, "--name", "page", "--scope", "search, embed")
    assert text not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (key,) = read_keys(file)
    assert (key.name, sorted(key.scopes), key.expires) == ("page", ["embed", "search"], None)
    for listed in (keys(file, "list").output, keys(file, "list", "--json").output):
        assert "page" in listed
        assert "embed" in listed
        assert text not in listed
        assert key.hash not in listed


@pytest.mark.parametrize(
    ("given", "expected"), [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), ("8w", timedelta(weeks=8))]
)
def test_a_key_may_expire_after_a_span(file: Path, given: str, expected: timedelta) -> None:
    made(file, "--name", "guest", "--scope", "search", "--expires", given)
    (key,) = read_keys(file)
    assert key.expires is not None
    assert key.expires - key.created == expected


def test_a_key_may_expire_at_a_time(file: Path) -> None:
    made(file, "--name", "a", "--scope", "search", "--expires", "2100-01-31")
    made(file, "--name", "b", "--scope", "search", "--expires", "2100-01-31T12:00:00+02:00")
    assert [key.expires for key in read_keys(file)] == [
        datetime(2100, 1, 31, tzinfo=UTC),
        datetime(2100, 1, 31, 10, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "a", "--scope", "everything"), "search, embed, ingest, admin"),
        (("--name", "a", "--scope", " , "), "search, embed, ingest, admin"),
        (("--name", "a b", "--scope", "search"), "name"),
        (("--name", "a", "--scope", "search", "--expires", "soon"), "90d"),
        (("--name", "a", "--scope", "search", "--expires", "2001-01-01"), "has passed"),
        (("--name", "a", "--scope", "search", "--expires", "0d"), "has passed"),
    ],
)
def test_what_makes_no_key_is_said_and_nothing_written(file: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in refusal(file, "new", *arguments)
    assert not file.exists()


def test_names_tell_keys_apart_and_a_revoked_one_is_gone(file: Path) -> None:
    made(file, "--name", "old", "--scope", "search")
    assert "both keys work until you revoke" in refusal(file, "new", "--name", "old", "--scope", "search")
    made(file, "--name", "new", "--scope", "search")
    assert keys(file, "revoke", "old").exit_code == 0
    assert [key.name for key in read_keys(file)] == ["new"]
    assert "sightline keys list" in refusal(file, "revoke", "old")


def test_without_keys_the_list_says_how_to_make_one(file: Path) -> None:
    assert "sightline keys new" in keys(file, "list").output
    assert json.loads(keys(file, "list", "--json").output) == []
    assert not file.exists()


def test_the_file_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "secrets" / "k.json"
    monkeypatch.setenv("SIGHTLINE_ACCESS__KEYS_FILE", str(elsewhere))
    made(tmp_path / "data" / "x", "--name", "a", "--scope", "search")
    assert [key.name for key in read_keys(elsewhere)] == ["a"]


# The gate that the settings make


def gate(tmp_path: Path, *, serves_people: bool = True, **environment: str) -> Gate:
    settings = load_settings({"SIGHTLINE_DATA_DIR": str(tmp_path)} | environment)
    answer = PlainTextResponse("here")
    return guarded(answer, settings, CollectorRegistry(), Log("test"), serves_people=serves_people)


async def status(of: Gate, path: str = "/v1/search", host: str = "127.0.0.1", **headers: str) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(of), base_url=f"http://{host}") as client:
        return (await client.get(path, headers=headers)).status_code


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "search.example"])
def test_listening_elsewhere_without_keys_is_refused_with_the_command_that_makes_one(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match="sightline keys new --name NAME --scope") as caught:
        gate(tmp_path, SIGHTLINE_HOST=host)
    assert host in str(caught.value)
    assert str(tmp_path / "api-keys.json") in str(caught.value)
    assert "SIGHTLINE_ACCESS__REQUIRED=never" in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
async def test_on_loopback_nobody_is_asked_also_where_keys_exist(tmp_path: Path, host: str) -> None:
    made(tmp_path / "api-keys.json", "--name", "a", "--scope", "search")
    assert await status(gate(tmp_path, SIGHTLINE_HOST=host)) == 200


@pytest.mark.parametrize(
    "environment",
    [{"SIGHTLINE_HOST": "0.0.0.0"}, {"SIGHTLINE_HOST": "127.0.0.1", "SIGHTLINE_ACCESS__REQUIRED": "always"}],
    ids=["elsewhere", "always"],
)
async def test_with_a_key_it_starts_and_asks_for_it(tmp_path: Path, environment: dict[str, Any]) -> None:
    if environment["SIGHTLINE_HOST"] == "127.0.0.1":
        with pytest.raises(ConfigurationError, match="sightline keys new"):
            gate(tmp_path, **environment)
    text = made(tmp_path / "api-keys.json", "--name", "a", "--scope", "search")
    asking = gate(tmp_path, **environment)
    assert await status(asking, host="search.example") == 401
    assert await status(asking, host="search.example", authorization=f"Bearer {text}") == 200


async def test_never_asks_nobody_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        open_gate = gate(tmp_path, SIGHTLINE_HOST="0.0.0.0", SIGHTLINE_ACCESS__REQUIRED="never")
    assert await status(open_gate, host="whatever") == 200
    assert [record.__dict__["action"] for record in caplog.records] == ["access_open"]


async def test_a_process_for_probes_alone_starts_without_keys_and_answers_nothing_else(tmp_path: Path) -> None:
    probes = gate(tmp_path, serves_people=False, SIGHTLINE_HOST="0.0.0.0")
    assert await status(probes, "/readyz", host="10.0.0.7:8080") == 200
    assert await status(probes, "/metrics", host="10.0.0.7:8080") == 200
    assert await status(probes, "/v1/retag", host="10.0.0.7:8080") == 401


def test_a_broken_file_of_keys_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "api-keys.json").write_text("{")
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "api-keys.json"))):
        gate(tmp_path, SIGHTLINE_HOST="0.0.0.0")


async def test_nobody_on_loopback_is_limited_unless_asked_for_and_every_key_is(tmp_path: Path) -> None:
    async def refused(of: Gate, requests: int, **headers: str) -> int:
        return sum([await status(of, **headers) == 429 for _ in range(requests)])

    assert await refused(gate(tmp_path), 500) == 0
    assert (
        await refused(gate(tmp_path, SIGHTLINE_ACCESS__REQUESTS_PER_SECOND="0.01", SIGHTLINE_ACCESS__BURST="3"), 9) == 6
    )
    text = made(tmp_path / "api-keys.json", "--name", "a", "--scope", "search")
    assert await refused(gate(tmp_path, SIGHTLINE_ACCESS__REQUIRED="always"), 500, authorization=f"Bearer {text}") > 0


def test_keys_lie_in_the_data_folder_unless_told_otherwise(tmp_path: Path) -> None:
    settings: Any = load_settings({"SIGHTLINE_DATA_DIR": str(tmp_path)})
    assert keys_file(settings) == tmp_path / "api-keys.json"
