"""`tags`, `duplicates`, `export` and `embed` beside a running service that asks for keys, and without any."""

import asyncio
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow.parquet as parquet  # type: ignore[import-untyped]
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.address import INSTANCE_HEADER, leave_address
from cli.main import app
from encoders.hashing import HashingEncoder
from runtime.access.api_keys import FILE, make_key, write_keys
from runtime.access.scopes import Scope
from schemas.collection import collection_name
from schemas.errors import ConfigurationError, SightlineError
from stores.edge import EdgeIndex
from stores.vectors import Point
from tests.end_to_end.running import clean_environment, run_command, sightline
from tests.unit.search.conftest import image_point, made_for

IMAGES = {
    "holiday/a.png": {"bucket": "photos", "tags": [{"tag": "beach", "score": 0.9}], "sha256": "a" * 64},
    "holiday/b.png": {"bucket": "photos", "tags": [{"tag": "beach", "score": 0.2}], "sha256": "a" * 64},
    "work/c.png": {"bucket": "photos", "tags": [{"tag": "city", "score": 0.8}], "sha256": "c" * 64},
    "d.png": {"bucket": "scans", "tags": [{"tag": "city", "score": 0.7}], "sha256": "d" * 64},
}


@dataclass(frozen=True)
class Service:
    """A data folder that a process serves, and the keys that it takes, by the one scope that each has."""

    data: Path
    keys: dict[Scope, str]

    def ask(self, *arguments: str | Path, scope: Scope = Scope.SEARCH) -> str:
        """What a command prints, run as a process."""
        environment = {"SIGHTLINE_API_KEY": self.keys[scope]}
        done = run_command(*arguments, "--data-dir", self.data, environment=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask_here(self, *arguments: str | Path, scope: Scope = Scope.SEARCH) -> str:
        """The same without the start of a process."""
        return here(*arguments, "--data-dir", self.data, key=self.keys[scope])


def here(*arguments: str | Path, key: str = "") -> str:
    environment = clean_environment({"SIGHTLINE_API_KEY": key})
    done = CliRunner().invoke(app, [str(one) for one in arguments], env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


async def fill(data: Path) -> None:
    encoder = HashingEncoder()
    collection = collection_name(encoder.identity.model)
    async with EdgeIndex(data / "index", collection) as index:
        await index.ensure(made_for(encoder.identity))
        pictures = [np.random.default_rng(3).normal(size=encoder.identity.dimension) for _ in IMAGES]
        points = []
        for (key, fields), numbers in zip(IMAGES.items(), pictures, strict=True):
            made = image_point(
                key, model="hashing", fingerprint=encoder.identity.fingerprint, width=40, height=30, **fields
            )
            vector = (numbers / np.linalg.norm(numbers)).astype(np.float32)
            points.append(Point(made.id, made.payload, vector))
        await index.write(points)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    data = tmp_path_factory.mktemp("asking") / "data"
    asyncio.run(fill(data))
    made = {scope: make_key(scope.value, [scope]) for scope in (Scope.SEARCH, Scope.EMBED)}
    write_keys(data / FILE, [key for _, key in made.values()])
    environment = {"SIGHTLINE_ACCESS__REQUIRED": "always", "SIGHTLINE_PORT": "0"}
    with sightline("run", "search", data_dir=data, environment=environment):
        yield Service(data, {scope: text for scope, (text, _) in made.items()})


def test_tags_of_all_images_or_of_some(service: Service) -> None:
    assert service.ask("tags").split() == ["images", "tag", "2", "beach", "2", "city"]

    def counted(*options: str) -> dict[str, int]:
        answer = json.loads(service.ask_here("tags", "--json", *options))
        return {one["tag"]: one["count"] for one in answer["tags"]}

    assert counted() == {"beach": 2, "city": 2}
    assert counted("--bucket", "photos") == {"beach": 2, "city": 1}
    assert counted("--prefix", "work/", "--bucket", "photos") == {"city": 1}
    assert service.ask_here("tags", "--prefix", "nowhere/") == "no image has a tag\n"


def test_duplicates_of_each_kind(service: Service) -> None:
    assert sorted(service.ask("duplicates").splitlines()) == ["photos/holiday/a.png", "photos/holiday/b.png"]
    assert len(service.ask_here("duplicates", "--kind", "re-encoded").splitlines()) == len(IMAGES)
    assert service.ask_here("duplicates", "--kind", "similar") == "no similar duplicates\n"
    (group,) = map(json.loads, service.ask_here("duplicates", "--json", "--limit", "1").splitlines())
    assert group["kind"] == "exact"
    assert [one["bucket"] for one in group["images"]] == ["photos", "photos"]


def keys_in(file: Path) -> Sequence[str]:
    if file.suffix == ".parquet":
        return [str(key) for key in parquet.read_table(file).column("key").to_pylist()]
    lines = file.read_text(encoding="utf-8").splitlines()
    return (
        [row["key"] for row in csv.DictReader(lines)]
        if file.suffix == ".csv"
        else [json.loads(x)["key"] for x in lines]
    )


def test_exports_in_each_format_of_all_images_or_of_some(service: Service, tmp_path: Path) -> None:
    service.ask("export", tmp_path / "all.parquet")
    assert sorted(keys_in(tmp_path / "all.parquet")) == sorted(IMAGES)
    for name, options, expected in (
        ("all.csv", (), set(IMAGES)),
        ("all.jsonl", (), set(IMAGES)),
        ("sure.csv", ("--tag", "beach", "--tag-score", "0.5"), {"holiday/a.png"}),
        ("some.jsonl", ("--bucket", "photos", "--prefix", "work/"), {"work/c.png"}),
        ("found.parquet", ("--search", "a beach", "--tag", "beach"), {"holiday/a.png", "holiday/b.png"}),
    ):
        service.ask_here("export", tmp_path / name, *options)
        assert set(keys_in(tmp_path / name)) == expected, name
    service.ask_here("export", tmp_path / "two.csv", "--limit", "2")
    assert len(keys_in(tmp_path / "two.csv")) == 2
    service.ask_here("export", tmp_path / "rows.txt", "--format", "csv")
    assert (tmp_path / "rows.txt").read_text() == (tmp_path / "all.csv").read_text()
    with pytest.raises(ConfigurationError, match="what format"):
        service.ask_here("export", tmp_path / "rows")
    with pytest.raises(SightlineError, match="name the tag too"):
        service.ask_here("export", tmp_path / "refused.csv", "--tag-score", "0.5")
    assert not list(tmp_path.glob("refused*")) + list(tmp_path.glob(".*"))


def test_vectors_of_texts_and_images_for_a_key_that_may_do_nothing_else(service: Service, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), (200, 90, 9)).save(picture)
    answer = json.loads(service.ask("embed", picture, scope=Scope.EMBED))
    assert (answer["model"], answer["dimension"], len(answer["embedding"])) == ("hashing", 256, 256)
    assert json.loads(service.ask_here("embed", "a red bicycle", scope=Scope.EMBED))["dimension"] == 256
    of_name = json.loads(service.ask_here("embed", "--text", picture, scope=Scope.EMBED))
    assert of_name["embedding"] != answer["embedding"]
    with pytest.raises(SightlineError, match="lacks the scope embed"):
        service.ask_here("embed", "a red bicycle", scope=Scope.SEARCH)


def test_embedding_needs_no_running_process_and_makes_no_index(tmp_path: Path) -> None:
    data = tmp_path / "data"
    text = "a bicycle " * 100
    assert json.loads(here("embed", text, "--data-dir", data))["model"] == "hashing"
    assert not (data / "index").exists()
    with pytest.raises(ConfigurationError, match="give --text"):
        here("embed", "gone.png", "--data-dir", data)
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        here("embed", "caf\udce9", "--data-dir", data)


def test_a_process_that_breaks_off_is_a_sentence(tmp_path: Path) -> None:
    class BreaksOff(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/livez":
                self.send_response(200)
                self.send_header(INSTANCE_HEADER, "this-one")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with (
            leave_address(tmp_path, url, "up", "this-one"),
            pytest.raises(SightlineError, match=f"{url} did not answer"),
        ):
            here("tags", "--data-dir", tmp_path)
        server.shutdown()
