import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from encoders.catalogue import CATALOGUE
from schemas.errors import ConfigurationError
from tests.unit.encoders.hub import Hub


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path / "hub", monkeypatch)


def said(*arguments: str) -> str:
    answer = CliRunner().invoke(app, ["models", *arguments], catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.stdout


def test_the_table_has_a_line_for_every_model_with_what_it_takes_and_where_it_is() -> None:
    lines = said().splitlines()
    for model in CATALOGUE:
        line = next(one for one in lines if one.startswith(f"{model.name} "))
        assert model.licence in line
        assert "image" in line or "words" in line
        assert ("remote" in line) == model.is_remote
    siglip = next(one for one in lines if one.startswith("ViT-SO400M-16-SigLIP2-512"))
    assert "1152" in siglip
    assert "1.1 B" in siglip
    assert "4.5 GB" in siglip
    assert "not here" in siglip


def test_as_json_programs_get_the_same(hub: Hub) -> None:
    answers = {one["name"]: one for one in json.loads(said("--json"))}
    assert answers.keys() == {model.name for model in CATALOGUE}
    assert answers["hashing"]["ready"] is True
    large = answers["ViT-L-14/openai"]
    assert large["ready"] is False
    assert (large["dimension"], large["modality"], large["licence"]) == (768, "images_and_words", "MIT")
    assert large["looked_in"].startswith(str(hub.folder))
    assert large["remedy"].startswith("hf download timm/vit_large_patch14_clip_224.openai ")


def test_one_model_is_shown_with_the_command_that_gets_it() -> None:
    text = said("ViT-B-32/laion400m_e32")
    assert "hf download timm/vit_base_patch32_clip_224.laion400m_e32" in text
    assert "--model ViT-B-32/laion400m_e32" in text
    assert json.loads(said("ViT-H-14/laion2b_s32b_b79k", "--json"))["dimension"] == 1024


def test_a_model_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean ViT-B-32"):
        said("ViT-B-23/openai")


@pytest.mark.parametrize("command", ["up", "index", "reconcile", "search", "run", "status", "config", "demo"])
def test_every_command_that_has_to_do_with_a_model_takes_its_name(command: str) -> None:
    answer = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert "--model" in answer.stdout
