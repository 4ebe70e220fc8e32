"""What every client of Kafka is given: addresses, security, and the names of topics and groups."""

import ssl
from typing import Any

from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError

CLIENT_ID = "sightline"


def topic_name(settings: KafkaSettings, topic: str) -> str:
    """A topic's name on this cluster."""
    return f"{settings.topic_prefix}{topic}"


def group_name(settings: KafkaSettings, group: str) -> str:
    """A consumer group's name on this cluster."""
    return f"{settings.group_prefix}{group}"


def servers(settings: KafkaSettings) -> list[str]:
    """The bootstrap addresses, each host:port. Raises `ConfigurationError` when none is set."""
    addresses = [one.strip() for one in settings.bootstrap_servers.split(",") if one.strip()]
    if not addresses:
        raise ConfigurationError(
            "No Kafka is named: set SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS to host:port, for example 'localhost:9092'"
        )
    return addresses


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """The options that aiokafka's consumer, producer and admin client have in common."""
    options: dict[str, Any] = {
        "bootstrap_servers": servers(settings),
        "client_id": CLIENT_ID,
        "request_timeout_ms": settings.request_timeout_ms,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    return options


def security(settings: KafkaSettings) -> BaseSecurity:
    """The same security, as FastStream's broker wants it."""
    use_ssl = settings.security_protocol.endswith("SSL")
    context = _ssl_context(settings) if use_ssl else None
    if not settings.security_protocol.startswith("SASL"):
        return BaseSecurity(ssl_context=context, use_ssl=use_ssl)
    kinds = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    return kinds[settings.sasl_mechanism](
        username=settings.sasl_username,
        password=settings.sasl_password.get_secret_value(),
        ssl_context=context,
        use_ssl=use_ssl,
    )


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ssl_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"SIGHTLINE_KAFKA__SSL_CA_FILE names {settings.ssl_ca_file}, which cannot be read as PEM certificates: "
            f"{error}. Name the file with the certificate authority of your brokers"
        ) from error
