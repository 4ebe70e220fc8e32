"""Models that look at names, and models that take words only, as a person runs them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.search import search_client
from runtime.encoder_settings import EncoderSettings
from runtime.settings import Settings
from tests.end_to_end.running import run_command, sightline
from tests.unit.encoders.tiny_qwen3 import write_qwen3

NAMES = {"SIGHTLINE_ENCODER__MODEL": "filename-tags"}


def test_a_catalogue_is_searched_by_its_names_and_by_the_name_of_a_picture(tmp_path: Path) -> None:
    catalogue, data = tmp_path / "catalog", tmp_path / "data"
    picture = tmp_path / "picture.jpg"
    Image.new("RGB", (40, 30), (9, 99, 200)).save(picture)
    keys = [f"{what}s/{colour}_{what}-01.jpg" for what in ("shoe", "bag", "hat") for colour in ("red", "blue", "green")]
    for key in [*keys, "broken/red_shoe-02.jpg"]:
        (catalogue / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, catalogue / key)
    (catalogue / "broken/red_shoe-02.jpg").write_bytes(picture.read_bytes()[:200])
    indexed = run_command("index", catalogue, "--data-dir", data, environment=NAMES)
    assert "9" in indexed.stdout + indexed.stderr, indexed

    def first(*asked: str | Path) -> str:
        done = run_command("search", *asked, "--json", "--limit", "1", "--data-dir", data, environment=NAMES)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["results"][0]["key"])

    assert first("red shoe") == "shoes/red_shoe-01.jpg"
    assert first("hats in green") == "hats/green_hat-01.jpg"
    shutil.copy(picture, tmp_path / "Blue Bag.jpg")
    assert first("--image", tmp_path / "Blue Bag.jpg") == "bags/blue_bag-01.jpg"


def test_search_alone_needs_no_kafka(tmp_path: Path) -> None:
    environment = NAMES | {"PORT": "0"}
    with sightline("run", "search", data_dir=tmp_path / "data", environment=environment) as running:
        answer = running.client.post(f"{running.url}/embed/texts", json={"texts": ["red shoe", ""]}).json()
        assert (answer["dimension"], answer["model"]) == (1024, "filename-tags")


async def test_a_model_of_words_serves_texts_and_nothing_else(tmp_path: Path) -> None:
    model = write_qwen3(tmp_path / "Tiny-Qwen3")
    settings = Settings(data_dir=tmp_path / "data", encoder=EncoderSettings(model=f"qwen3:{model}", device="cpu"))
    async with search_client(settings) as client:
        answer = (await client.post("/embed/texts", json={"texts": ["a boat", "犬", ""]})).json()
        assert (answer["dimension"], answer["model"]) == (64, "qwen3:Tiny-Qwen3")
        assert np.allclose(np.linalg.norm(answer["embeddings"], axis=1), 1, atol=1e-5)
        refused = await client.post("/embed/image/base64", json={"image_base64": "AAAA"})
        assert refused.status_code == 422
        assert "takes words only" in refused.json()["detail"]
        assert (await client.get("/v1/search", params={"q": "a boat"})).json()["results"] == []
    assert not list((tmp_path / "data").rglob("collection.json")), "no collection of images was made"


@pytest.mark.parametrize("command", ["up", "index", "run"])
def test_a_model_of_words_is_refused_where_images_are_needed(command: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    arguments = ["run", "ingest", "embedder", "indexer"] if command == "run" else [command, tmp_path / "photos"]
    done = run_command(
        *arguments,
        *("--data-dir", tmp_path / "data"),
        environment={"SIGHTLINE_ENCODER__MODEL": "qwen3-4b", "PORT": "0"},
    )
    assert done.returncode == 2, done
    assert "qwen3-4b takes words only, so no image can be indexed with it: choose one that takes" in done.stderr
    assert "Traceback" not in done.stderr
