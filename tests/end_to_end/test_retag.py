"""`sightline retag` by its command line: a vocabulary changes, and so do the tags of what is indexed already."""

import json
from pathlib import Path

import pytest

from imaging.samples import draw_samples
from tests.end_to_end.running import Running, run_command, sightline
from tests.unit.encoders.tiny_model import write_tiny_model

FIRST = {"SIGHTLINE_TAGS__VOCABULARY": "red house,mug", "SIGHTLINE_TAGS__DEFAULTS": "false"}
SECOND = {"SIGHTLINE_TAGS__VOCABULARY": "crane,bridge,road", "SIGHTLINE_TAGS__DEFAULTS": "false"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    draw_samples(folder, 8, seed=9, sizes=((160, 120),))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def tags_of(running: Running) -> dict[str, set[str]]:
    return {key: {tag["tag"] for tag in image["payload"]["tags"]} for key, image in running.images().items()}


def test_a_changed_vocabulary_reaches_what_is_indexed_without_reading_an_image(
    photos: Path, model: Path, tmp_path: Path
) -> None:
    here: list[str | Path] = ["--data-dir", tmp_path / "data", "--model", model]
    nothing = run_command("retag", *here, environment=FIRST)
    assert (nothing.returncode, "nothing was ever indexed" in nothing.stderr) == (2, True), nothing
    assert run_command("index", photos, *here, environment=FIRST).returncode == 0
    photos.rename(tmp_path / "away")

    dry = run_command("retag", "--dry-run", *here, environment=SECOND)
    assert dry.stdout.startswith("8 images have tags of other settings"), dry
    changes = dry.stdout.splitlines()[1:]
    assert len(changes) == 5
    for change in changes:
        before, _, after = change.partition(" -> ")
        assert "mug" in before
        assert "crane" in after

    done = run_command("retag", *here, environment=SECOND)
    assert (done.returncode, "8 images tagged anew in" in done.stdout) == (0, True), done
    assert "8/8" in done.stderr, "a progress bar is shown"

    every = run_command("retag", "--json", "--all", *here, environment=SECOND)
    assert json.loads(every.stdout)["images"] == 8, every


def test_a_process_that_holds_the_index_retags_it_by_its_own_settings_only(
    photos: Path, model: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert run_command("index", photos, "--data-dir", data, "--model", model, environment=FIRST).returncode == 0
    with sightline("up", photos, "--port", "0", "--model", model, data_dir=data, environment=SECOND) as running:
        assert set.union(*tags_of(running).values()) == {"red house", "mug"}
        refused = run_command("retag", "--data-dir", data, environment=FIRST)
        assert (refused.returncode, "by other settings than yours" in refused.stderr) == (2, True), refused
        other = run_command("retag", "--data-dir", data, "--model", "hashing", environment=SECOND)
        assert (other.returncode, "not images__hashing" in other.stderr) == (2, True), other
        dry = run_command("retag", "--dry-run", "--data-dir", data, environment=SECOND)
        assert dry.stdout.startswith("8 images have tags of other settings"), dry
        assert set.union(*tags_of(running).values()) == {"red house", "mug"}
        done = run_command("retag", "--json", "--data-dir", data, environment=SECOND)
        assert json.loads(done.stdout)["images"] == 8, done
        assert all(tags == {"crane", "bridge", "road"} for tags in tags_of(running).values())
        assert running.stop() == 0
    dead = run_command("retag", "--json", "--data-dir", data, "--model", model, environment=SECOND)
    assert json.loads(dead.stdout)["images"] == 0, dead
