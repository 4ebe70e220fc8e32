"""A real process that asks for API keys: the start, the command line beside it, rotation, and what its log tells."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from imaging.samples import draw_samples
from runtime.access.api_keys import read_keys
from tests.end_to_end.running import Running, run_command, sightline, wait_for

ALWAYS = {"SIGHTLINE_ACCESS__REQUIRED": "always"}
SIGNATURE = "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"
PRESIGNED = f"https://bucket.invalid/a.jpg?X-Amz-Credential=AKIDEXAMPLE%2F20240515&X-Amz-Signature={SIGNATURE}"


def new_key(data_dir: Path, name: str, scopes: str) -> str:
    done = run_command("keys", "new", "--name", name, "--scope", scopes, "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    assert key.startswith("sightline_")
    assert key not in done.stderr
    return key


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_samples(tmp_path / "photos", 3, seed=5, sizes=((160, 120),))[0].parent


@pytest.fixture
def key(tmp_path: Path) -> str:
    return new_key(tmp_path / "data", "everything", "search,embed,ingest,admin")


@pytest.fixture
def up(photos: Path, tmp_path: Path, key: str) -> Iterator[Running]:
    environment = ALWAYS | {"SIGHTLINE_LOG_LEVEL": "DEBUG"}
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data", environment=environment) as running:
        running.client.headers["Authorization"] = f"Bearer {key}"
        wait_for(lambda: len(running.images()) == 3, "the photos being indexed")
        yield running


def test_listening_elsewhere_without_keys_ends_with_the_command_that_makes_one(photos: Path, tmp_path: Path) -> None:
    done = run_command("up", photos, "--host", "0.0.0.0", "--port", "0", "--data-dir", tmp_path / "data")
    assert done.returncode == 2
    assert "sightline keys new --name NAME --scope" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "address.json").exists()


def test_everyone_needs_a_key_the_commands_of_this_machine_too(up: Running, tmp_path: Path, key: str) -> None:
    del up.client.headers["Authorization"]
    for path in ("/v1/search?q=x", "/v1/status", "/v1/images"):
        answer = up.client.get(up.url + path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/", "/livez", "/readyz", "/health", "/metrics", "/docs", "/openapi.json", "/v1/access"):
        assert up.client.get(up.url + path).status_code == 200, path
    assert up.client.get(f"{up.url}/v1/access").json()["required"] is True
    assert up.metric("sightline_http_refused_total", reason="no_key") == 3

    data = ("--data-dir", tmp_path / "data")
    for command in (("status",), ("search", "--like", "sample-00000.jpg"), ("retag", "--dry-run")):
        without = run_command(*command, *data)
        assert without.returncode == 1, without.stderr
        assert "SIGHTLINE_API_KEY" in without.stderr
    status = run_command("status", "--json", *data, environment={"SIGHTLINE_API_KEY": key})
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["indexed"] == 3


def test_keys_are_changed_without_a_restart(up: Running, tmp_path: Path) -> None:
    def answered(key: str, path: str = "/v1/images") -> int:
        return up.client.get(up.url + path, headers={"Authorization": f"Bearer {key}"}).status_code

    second = new_key(tmp_path / "data", "second", "search")
    wait_for(lambda: answered(second) == 200, "the new key being accepted", patience=5)
    assert up.client.get(f"{up.url}/v1/images").status_code == 200, "the first one goes on"
    assert answered(second, "/v1/retag") == 403
    assert run_command("keys", "revoke", "second", "--data-dir", tmp_path / "data").returncode == 0
    wait_for(lambda: answered(second) == 401, "the revoked key being refused", patience=5)
    (tmp_path / "data" / "api-keys.json").write_text("{")

    def noticed() -> bool:
        assert up.client.get(f"{up.url}/v1/images").status_code == 200, "the last good keys stay"
        return "api_keys_unreadable" in up.log.read_text()

    wait_for(noticed, "the broken file being noticed", patience=5)


def test_nothing_secret_is_in_the_log_the_metrics_or_the_errors(up: Running, tmp_path: Path, key: str) -> None:
    hash_of_key = read_keys(tmp_path / "data" / "api-keys.json")[0].hash
    wrong = "sightline_" + "w" * 43
    forms = ({"Authorization": f"Bearer {wrong}"}, {"X-Api-Key": wrong}, {"Authorization": f"Basic {wrong}"})
    told = [up.client.get(f"{up.url}/v1/images", headers=headers).text for headers in forms]
    told.append(up.client.get(f"{up.url}/v1/search", params={"q": "x", "api_key": key}).text)
    told.append(up.client.post(f"{up.url}/v1/search", json={"url": PRESIGNED}).text)
    embedded = up.client.post(f"{up.url}/embed/image", json={"urls": [PRESIGNED]})
    assert embedded.json() == {"embeddings": [[]]}
    told.append(embedded.text)
    host = urlsplit(up.url).netloc
    malformed = (f"GET /v1/images?token={key} HTTP/9.9\r\n\r\n", f"Authorization: Bearer {key}\r\n\r\n")
    told += [_raw(host, request) for request in malformed]
    told.append(up.client.get(f"{up.url}/metrics").text)
    told.append(json.dumps(up.client.get(f"{up.url}/v1/status").json()))
    assert up.stop() == 0
    told.append(up.log.read_text())
    assert "urls_without_embedding" in told[-1], "the log was not silent about the URL"
    for secret in (key, wrong, hash_of_key, SIGNATURE, "AKIDEXAMPLE"):
        assert not [text for text in told if secret in text], secret[:14]


def _raw(host: str, request: str) -> str:
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.connect()
    try:
        connection.sock.sendall(request.encode())
        return connection.sock.recv(65536).decode("latin-1")
    finally:
        connection.close()


def test_a_page_elsewhere_cannot_drive_a_service_of_this_machine(photos: Path, tmp_path: Path) -> None:
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "open") as running:
        client, url = running.client, running.url
        assert client.get(f"{url}/v1/images").status_code == 200
        assert client.get(f"{url}/v1/images", headers={"Host": "rebound.example"}).status_code == 421
        elsewhere = {"Origin": "https://page.example"}
        assert client.post(f"{url}/v1/retag", json={}, headers=elsewhere).status_code == 403
        assert client.post(f"{url}/v1/search", json={"text": "a"}, headers={"Origin": url}).status_code == 200
        assert client.get(f"{url}/v1/images", headers={"X-Forwarded-For": "203.0.113.1"}).status_code == 403
