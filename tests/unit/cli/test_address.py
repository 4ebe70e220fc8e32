import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.address import INSTANCE_HEADER, find_running, key_headers, leave_address, read_address
from runtime.settings import load_settings
from schemas.errors import ConfigurationError


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header(INSTANCE_HEADER, "me")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_the_process_that_left_its_address_is_found(server: str, tmp_path: Path) -> None:
    with leave_address(tmp_path, server, "up photos", "me"):
        found = find_running(tmp_path)
        assert found is not None
        assert found.what == "up photos"
    assert read_address(tmp_path) is None


def test_another_process_on_the_same_port_is_not_believed(server: str, tmp_path: Path) -> None:
    with leave_address(tmp_path, server, "up photos", "somebody who was killed"):
        assert find_running(tmp_path) is None


def test_a_port_that_nobody_answers_on_is_nobody(tmp_path: Path) -> None:
    with leave_address(tmp_path, "http://127.0.0.1:1", "up photos", "me"):
        assert find_running(tmp_path) is None


def test_a_proxy_of_the_environment_is_not_asked(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with leave_address(tmp_path, server, "up photos", "me"):
        assert find_running(tmp_path) is not None


def test_the_address_of_a_later_process_is_left_alone(server: str, tmp_path: Path) -> None:
    with leave_address(tmp_path, server, "first", "first"):
        with leave_address(tmp_path, server, "second", "second"):
            pass
        assert read_address(tmp_path) is None
    with leave_address(tmp_path, server, "first", "first"):
        (tmp_path / "address.json").write_text('{"url": "x"')
        assert read_address(tmp_path) is None


def test_a_key_that_no_header_can_carry_is_refused_without_being_told(tmp_path: Path) -> None:
    for key in ("clé", "two keys\nin one"):
        settings = load_settings({"SIGHTLINE_API_KEY": key, "SIGHTLINE_DATA_DIR": str(tmp_path)})
        with pytest.raises(ConfigurationError, match="SIGHTLINE_API_KEY has characters") as caught:
            key_headers(settings)
        assert key not in str(caught.value)
