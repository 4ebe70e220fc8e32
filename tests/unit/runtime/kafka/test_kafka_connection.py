import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr

from runtime.kafka.connection import client_options, group_name, security, servers, topic_name
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError


def test_names_carry_their_prefixes() -> None:
    settings = KafkaSettings(topic_prefix="eu.", group_prefix="blue-")
    assert topic_name(settings, "image-events") == "eu.image-events"
    assert group_name(settings, "embedder") == "blue-embedder"


def test_several_addresses_may_have_spaces_between_them() -> None:
    assert servers(KafkaSettings(bootstrap_servers="a:1, b:2")) == ["a:1", "b:2"]


def test_no_address_is_a_sentence_that_names_the_setting() -> None:
    with pytest.raises(ConfigurationError, match="SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS"):
        servers(KafkaSettings())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_credentials_reach_both_libraries(mechanism: str) -> None:
    settings = KafkaSettings(
        bootstrap_servers="a:1",
        security_protocol="SASL_SSL",
        sasl_mechanism=mechanism,
        sasl_username="user",
        sasl_password=SecretStr("secret"),
    )
    options = client_options(settings)
    assert options["sasl_mechanism"] == mechanism
    assert options["sasl_plain_password"] == "secret"
    assert isinstance(options["ssl_context"], ssl.SSLContext)
    assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    given = security(settings)
    assert given.use_ssl
    assert (given.username, given.password) == ("user", "secret")  # type: ignore[attr-defined]


def test_a_certificate_file_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    settings = KafkaSettings(bootstrap_servers="a:1", security_protocol="SSL", ssl_ca_file=tmp_path / "ca.pem")
    with pytest.raises(ConfigurationError, match="SIGHTLINE_KAFKA__SSL_CA_FILE"):
        client_options(settings)
