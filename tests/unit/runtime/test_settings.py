import pytest

from runtime.settings import load_settings, setting_names
from schemas.errors import ConfigurationError


def test_the_defaults_need_nothing() -> None:
    settings = load_settings({})
    assert settings.kafka.bootstrap_servers == ""
    assert settings.data_dir.is_absolute()


def test_nested_settings_are_read_from_the_environment() -> None:
    settings = load_settings(
        {"SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": "a:9092,b:9092", "SIGHTLINE_ENCODER__MODEL": "ViT-B-32/openai"}
    )
    assert settings.kafka.bootstrap_servers == "a:9092,b:9092"
    assert settings.encoder.model == "ViT-B-32/openai"


def test_port_and_log_level_are_honoured_and_the_longer_names_win() -> None:
    assert load_settings({"PORT": "9000", "LOG_LEVEL": "debug"}).port == 9000
    assert load_settings({"PORT": "9000", "LOG_LEVEL": "debug"}).log_level == "DEBUG"
    assert load_settings({"PORT": "9000", "SIGHTLINE_PORT": "9001"}).port == 9001
    assert load_settings({"PORT": "9000"}, port=9002).port == 9002


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"SIGHTLINE_PORT": "99999"}, "SIGHTLINE_PORT"),
        ({"PORT": "many"}, "^PORT:"),
        ({"SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": "kafka"}, "host:port"),
        ({"SIGHTLINE_ENCODER__BATCH_SIZE": "0"}, "SIGHTLINE_ENCODER__BATCH_SIZE"),
        ({"SIGHTLINE_QDRANT__URL": "qdrant:6333"}, "http://qdrant:6333"),
        ({"SIGHTLINE_KAFKA__BOOTSTRAP_SERVER": "a:9092"}, "no such setting"),
        ({"SIGHTLINE_LOG_LEVEL": "LOUD"}, "SIGHTLINE_LOG_LEVEL"),
    ],
)
def test_a_value_that_cannot_work_is_named_with_what_to_do(environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load_settings(environment)


def test_an_option_is_judged_like_a_variable_and_named_as_it_was_written() -> None:
    with pytest.raises(ConfigurationError, match=r"^--interval:"):
        load_settings({}, reconcile__interval=-1.0)
    with pytest.raises(ConfigurationError, match=r"^--max-gone:"):
        load_settings({"SIGHTLINE_RECONCILE__MAX_GONE": "3"}, reconcile__max_gone=-5)
    kept = load_settings({"SIGHTLINE_ENCODER__BATCH_SIZE": "7"}, encoder__model="other")
    assert (kept.encoder.batch_size, kept.encoder.model) == (7, "other")


def test_an_empty_variable_is_no_variable() -> None:
    assert (
        load_settings({"PORT": "", "LOG_LEVEL": "", "SIGHTLINE_ENCODER__MODEL": ""}).encoder.model == "sightline-small"
    )


def test_secrets_are_masked() -> None:
    settings = load_settings({"SIGHTLINE_QDRANT__API_KEY": "hunter2", "SIGHTLINE_INGEST__WEBHOOK__TOKEN": "hunter3"})
    assert "hunter" not in str(settings.masked())
    assert "hunter" not in repr(settings)


def test_every_setting_has_a_name() -> None:
    names = setting_names()
    assert "SIGHTLINE_INGEST__WEBHOOK__TOKEN" in names
    assert len(names) == len(set(names))
