"""Tags and metadata from a folder of pictures to the answers of the API, with a model of open_clip's own classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from cli.models import make_engine
from cli.one_pass import one_pass
from cli.parts import Parts
from cli.pass_report import ANYTHING_GOES, PassOptions
from cli.search import search_client
from cli.tagging import make_tagger
from runtime.lifecycle import ExitCode
from runtime.settings import Settings, load_settings
from schemas.errors import ConfigurationError
from schemas.events import Tag
from tests.unit.encoders.tiny_model import write_tiny_model

VOCABULARY = "# ours\nmug\njug: a photo of a jug | jugs\nrug\nVictory Day\n"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three kinds of noise; the first was photographed lying down, at a place."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(5)
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    exif[Base.Make], exif[Base.Model] = "Canon", "Canon EOS R6"
    exif[Base.DateTime] = "2024:05:15 14:30:22"
    exif.get_ifd(IFD.GPSInfo).update(
        {
            GPS.GPSLatitudeRef: "N",
            GPS.GPSLatitude: (46.0, 32.0, 51.0),
            GPS.GPSLongitudeRef: "E",
            GPS.GPSLongitude: (7.0, 59.0, 6.0),
        }
    )
    for n in range(3):
        image = Image.fromarray(noise.integers(0, 80 * (n + 1), (24, 40, 3), dtype=np.uint8))
        image.save(folder / f"{n}.jpg", exif=exif.tobytes() if n == 0 else b"")
    return folder


async def indexed(settings: Settings, source: Path) -> dict[str, Any]:
    """What the API answers of each image, by key, after one pass."""
    assert await one_pass(settings, str(source), PassOptions(guard=ANYTHING_GOES)) is ExitCode.CLEAN
    async with search_client(settings) as client:
        listed = (await client.get("/v1/images")).json()["images"]
        images = {image["key"]: (await client.get(f"/v1/images/{image['id']}?vector=true")).json() for image in listed}
        for least in (0.0, 0.3):
            found = await client.get("/v1/images", params={"tag": "mug", "tag_score": least})
            assert {image["key"] for image in found.json()["images"]} == {
                key
                for key, image in images.items()
                if any(tag["tag"] == "mug" and tag["score"] >= least for tag in image["payload"].get("tags", ()))
            }
    return images


async def test_tags_date_camera_and_orientation_are_found_and_the_place_only_where_it_was_asked_for(
    tmp_path: Path, pictures: Path
) -> None:
    (tmp_path / "tags.txt").write_text(VOCABULARY, encoding="utf-8")
    model = write_tiny_model(tmp_path / "tiny")
    environment = {
        "SIGHTLINE_ENCODER__MODEL": str(model),
        "SIGHTLINE_ENCODER__DEVICE": "cpu",
        "SIGHTLINE_TAGS__DEFAULTS": "false",
        "SIGHTLINE_TAGS__VOCABULARY_FILE": str(tmp_path / "tags.txt"),
        "SIGHTLINE_TAGS__TOP_K": "3",
    }
    settings = load_settings(environment, data_dir=tmp_path / "data")
    images = await indexed(settings, pictures)
    assert set(images) == {"0.jpg", "1.jpg", "2.jpg"}

    async with make_engine(Parts.make(settings)) as engine:
        tagger = await make_tagger(settings.tags, engine)
    for image in images.values():
        (expected,) = tagger.tags(np.array([image["vector"]], dtype=np.float32))
        stored = [Tag.model_validate(tag) for tag in image["payload"]["tags"]]
        assert [tag.tag for tag in stored] == [tag.tag for tag in expected]
        assert [tag.score for tag in stored] == pytest.approx([tag.score for tag in expected], abs=1e-5)
        assert len(stored) == 3
        assert image["payload"]["tags_version"] == tagger.version

    payload = images["0.jpg"]["payload"]
    assert (payload["taken_at"], payload["camera"]) == ("2024-05-15T14:30:22Z", "Canon EOS R6")
    assert (payload["orientation"], payload["width"], payload["height"]) == (6, 24, 40)
    assert "orientation" not in images["1.jpg"]["payload"]
    assert all("location" not in image["payload"] for image in images.values())

    placed = load_settings(
        {**environment, "SIGHTLINE_PAYLOAD__GPS": "true", "SIGHTLINE_TAGS__ENABLED": "false"},
        data_dir=tmp_path / "other",
    )
    images = await indexed(placed, pictures)
    assert images["0.jpg"]["payload"]["location"] == pytest.approx({"lat": 46.5475, "lon": 7.985})
    assert "location" not in images["1.jpg"]["payload"]
    assert all("tags_version" not in image["payload"] for image in images.values())


async def test_a_vocabulary_that_cannot_be_read_stops_the_start(tmp_path: Path, pictures: Path) -> None:
    settings = load_settings(
        {"SIGHTLINE_TAGS__VOCABULARY_FILE": str(tmp_path / "gone.txt")},
        data_dir=tmp_path / "data",
        encoder__model="hashing",
    )
    with pytest.raises(ConfigurationError, match=r"gone\.txt cannot be read"):
        await one_pass(settings, str(pictures), PassOptions(guard=ANYTHING_GOES))
