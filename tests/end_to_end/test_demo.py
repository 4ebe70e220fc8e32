"""`sightline demo`: the main job with nothing to set up, and what it claims of itself."""

import re

import pytest

from tests.end_to_end.running import run_command

RECALL = re.compile(r"R@1 (\d\.\d\d), R@5\s+(\d\.\d\d)")


def test_it_finds_the_right_scenes_by_words() -> None:
    shown = run_command(
        "demo", "--images", "60", timeout=110, environment={"SIGHTLINE_ENCODER__MODEL": "", "COLUMNS": "200"}
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "exactly what the folder holds" in shown.stdout
    assert "sightline-small on " in shown.stdout
    captions, names = RECALL.findall(shown.stdout)
    assert float(captions[1]) >= 0.95, "captions of whole scenes"
    assert float(names[1]) >= 0.9, "single names"
    assert "not_an_image" in shown.stdout
    assert "decode_failed" in shown.stdout


def test_a_model_that_knows_no_words_is_asked_for_none() -> None:
    shown = run_command("demo", "--images", "20", "--model", "hashing", timeout=100)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "knows no words" in shown.stdout
    assert not RECALL.search(shown.stdout)


def test_a_model_that_may_charge_for_questions_is_refused() -> None:
    refused = run_command("demo", "--model", "replicate:openai/clip")
    assert (refused.returncode, "may charge for" in refused.stderr) == (2, True), refused


@pytest.mark.parametrize("count", ["0", "19"])
def test_too_few_images_are_refused(count: str) -> None:
    assert run_command("demo", "--images", count).returncode == 2
