import json
from pathlib import Path

import pytest

from cli.models import remote_options
from cli.parts import Parts
from encoders.remote.options import HF_TOKEN, REPLICATE_API_TOKEN, SELF_HOSTED_TOKEN, RemoteOptions
from runtime.settings import load_settings
from schemas.errors import ConfigurationError

SECRETS = {HF_TOKEN: "hunter-a", REPLICATE_API_TOKEN: "hunter-b", SELF_HOSTED_TOKEN: "hunter-c"}


def test_tokens_come_from_the_environment_and_show_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings({"SIGHTLINE_DATA_DIR": str(tmp_path), **SECRETS})
    made = remote_options(Parts.make(settings))
    for name, value in SECRETS.items():
        assert made.token(name).headers() == {"Authorization": f"Bearer {value}"}
    shown = repr(made) + repr(settings) + json.dumps(settings.masked()) + repr(Parts.make(settings))
    assert "hunter" not in shown
    assert made.ledger == tmp_path / "remote-spent.json"


def test_every_setting_reaches_the_encoder(tmp_path: Path) -> None:
    given = {
        "URL": "http://clip/embed",
        "TEXT_URL": "http://clip/words",
        "IMAGE_FIELD": "file",
        "SIDE": "100",
        "MAX_BYTES": "9000",
        "CONCURRENCY": "7",
        "TIMEOUT": "8",
        "PATIENCE": "9",
        "START_PATIENCE": "10",
        "DOLLARS_PER_IMAGE": "0.5",
        "BUDGET_IMAGES": "11",
        "BUDGET_DOLLARS": "12",
    }
    variables = {f"SIGHTLINE_REMOTE__{name}": value for name, value in given.items()}
    made = remote_options(Parts.make(load_settings({"SIGHTLINE_DATA_DIR": str(tmp_path), **variables})))
    assert {name: str(getattr(made, name.lower())).removesuffix(".0") for name in given} == given


def test_the_defaults_are_the_same_in_both_places(tmp_path: Path) -> None:
    made = remote_options(Parts.make(load_settings({"SIGHTLINE_DATA_DIR": str(tmp_path)})))
    plain = RemoteOptions()
    named = set(load_settings({}).remote.model_dump()) - {"token", "model"}  # the last is for the one who makes it
    assert {name: getattr(made, name) for name in named} == {name: getattr(plain, name) for name in named}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BUDGET_DOLLARS", "5", "SIGHTLINE_REMOTE__DOLLARS_PER_IMAGE"),
        ("URL", "clip:8000", "http://clip:8000/embed"),
        ("MAX_BYTES", "10", "SIGHTLINE_REMOTE__MAX_BYTES"),
    ],
)
def test_a_value_that_cannot_work_is_named_and_no_secret_with_it(name: str, value: str, says: str) -> None:
    variables = {f"SIGHTLINE_REMOTE__{name}": value, SELF_HOSTED_TOKEN: "hunter-c"}
    with pytest.raises(ConfigurationError, match=says) as raised:
        load_settings(variables)
    assert "hunter" not in str(raised.value)
