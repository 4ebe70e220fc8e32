"""Why is my photo (not) found: asked of a real `sightline up FOLDER`, by its command line and by HTTP."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imaging.samples import draw_samples
from tests.end_to_end.running import Running, run_command, sightline, wait_for

EXCLUDE = {"SIGHTLINE_INGEST__EXCLUDE": "private/*"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("pictures")
    return [path.read_bytes() for path in draw_samples(folder, 6, seed=3, sizes=((640, 480),))]


@pytest.fixture
def photos(tmp_path: Path, pictures: list[bytes]) -> Path:
    folder = tmp_path / "photos"
    (folder / "private").mkdir(parents=True)
    (folder / "good.jpg").write_bytes(pictures[0])
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (folder / "private" / "secret.jpg").write_bytes(pictures[1])
    (folder / "removed.jpg").write_bytes(pictures[2])
    return folder


@pytest.fixture
def up(photos: Path, tmp_path: Path) -> Iterator[Running]:
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data", environment=EXCLUDE) as running:
        wait_for(lambda: sorted(running.images()) == ["good.jpg", "removed.jpg"], "the two good images")
        wait_for(lambda: list(running.images("rejected")) == ["broken.jpg"], "the broken one's verdict")
        (photos / "removed.jpg").unlink()
        wait_for(lambda: "removed.jpg" in running.images("gone"), "the removed one's going")
        yield running


def explain(data_dir: Path, key: str | Path, *options: str) -> dict[str, Any]:
    done = run_command("explain", key, *options, "--json", "--data-dir", data_dir, environment=EXCLUDE)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_good_broken_excluded_removed_and_unknown_images_are_each_explained(up: Running) -> None:
    good = up.get("/v1/explain", key="good.jpg")
    assert (good["outcome"], good["status"]) == ("found", "indexed")
    assert [step["step"] for step in good["steps"]] == ["uploaded", "noticed", "looked_at", "embedded", "indexed"]
    times = [step["at"] for step in good["steps"]]
    assert None not in times
    assert times == sorted(times)
    assert good["now"]["object"]["same"] is True

    broken = up.get("/v1/explain", key="broken.jpg", bucket="photos")
    assert broken["outcome"] == "rejected"
    assert "decode_failed" in broken["conclusion"]
    assert [letter["stage"] for letter in broken["now"]["dead_letters"]] == ["embedder"]
    served = up.get(f"/v1/images/{broken['id']}/timeline")
    assert (served["outcome"], served["steps"]) == (broken["outcome"], broken["steps"])

    excluded = up.get("/v1/explain", key="private/secret.jpg")
    assert (excluded["outcome"], excluded["status"]) == ("ignored", None)
    assert "exclude pattern private/*" in excluded["conclusion"]
    assert "SIGHTLINE_INGEST__EXCLUDE" in excluded["remedy"]
    assert excluded["now"]["object"]["exists"] is True

    removed = up.get("/v1/explain", key="removed.jpg")
    assert (removed["outcome"], removed["status"]) == ("gone", "gone")
    assert removed["steps"][-2]["step"] == "found_gone"

    assert up.get("/v1/explain", key="never.jpg")["outcome"] == "not_there"
    assert up.get("/v1/explain", key="good.jpg", bucket="others")["outcome"] == "ignored"


def test_the_command_says_the_same_in_words(up: Running, photos: Path) -> None:
    assert explain(up.data_dir, photos / "good.jpg")["key"] == "good.jpg", "a file's path will do"
    said = run_command("explain", "broken.jpg", "--data-dir", up.data_dir)
    assert said.returncode == 0, said.stderr
    for words in ("rejected", "decode_failed", "dead letter", "Upload a good image"):
        assert words in said.stdout, said.stdout


def test_a_rejected_image_is_really_looked_at_again(up: Running, photos: Path) -> None:
    before = up.images("rejected")["broken.jpg"]
    answer = up.client.post(f"{up.url}/v1/images/{before['id']}/retry")
    assert answer.status_code == 202, answer.text
    wait_for(lambda: up.images("rejected")["broken.jpg"]["version"] > before["version"], "a new verdict", patience=15)
    steps = up.get(f"/v1/images/{before['id']}/timeline")["steps"]
    assert "asked that it be looked at again" in steps[1]["detail"]
    again = up.images("rejected")["broken.jpg"]
    answer = up.client.post(f"{up.url}/v1/failures/retry", params={"reason": "decode_failed"})
    assert (answer.status_code, answer.json()["sent"]) == (202, 1)
    wait_for(lambda: up.images("rejected")["broken.jpg"]["version"] > again["version"], "another verdict", patience=15)


def test_the_original_and_a_thumbnail_are_served(up: Running, photos: Path, pictures: list[bytes]) -> None:
    image = up.images()["good.jpg"]
    original = up.client.get(f"{up.url}/v1/images/{image['id']}/original")
    assert (original.status_code, original.content) == (200, pictures[0])
    small = up.client.get(f"{up.url}/v1/images/{image['id']}/thumbnail", params={"size": 128})
    assert small.status_code == 200
    assert Image.open(io.BytesIO(small.content)).size == (128, 96)
    assert len(list((up.data_dir / "thumbnails").glob("*/*"))) == 1
    broken = up.images("rejected")["broken.jpg"]
    assert up.client.get(f"{up.url}/v1/images/{broken['id']}/thumbnail").status_code == 404
    (photos / "good.jpg").write_bytes(pictures[3])
    answers = []

    def replaced() -> bool:
        answer = up.client.get(f"{up.url}/v1/images/{image['id']}/original")
        answers.append((answer.status_code, answer.content))
        return answers[-1] == (200, pictures[3])

    wait_for(replaced, "the new original", patience=15)
    assert {status for status, _ in answers} <= {200, 409}
    assert pictures[0] not in {content for _, content in answers}, "what was replaced is never passed off"


def test_the_command_explains_when_nothing_runs(photos: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    done = run_command("index", photos, "--data-dir", data_dir, environment=EXCLUDE)
    assert done.returncode == 0, done.stderr
    assert explain(data_dir, "good.jpg")["outcome"] == "found"
    (photos / "good.jpg").unlink()
    assert explain(data_dir, "good.jpg")["outcome"] == "outdated"
