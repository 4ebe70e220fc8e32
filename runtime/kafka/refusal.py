"""Why no broker could be spoken to: aiokafka's clients keep the reason to themselves.

All that they say at their start is that they could not bootstrap. So one more connection is made, for what it dies of:
a password that is wrong does not mend itself, a broker that is away does.
"""

import asyncio
import ssl

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from runtime.kafka.connection import client_options
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError

NOT_ALLOWED = (
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    ClusterAuthorizationFailedError,
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
)
"""A broker is there, knows this user or does not, and will not let it do what it wants."""
_NO_LOGIN = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError, IllegalSaslStateError)


async def why_not(settings: KafkaSettings, *, timeout: float) -> Exception | None:
    """What a connection to the last of the addresses fails of; None where one can be made after all.

    Raises `ConfigurationError` where a broker refuses our credentials, or shows a certificate that is not trusted.
    """
    options = client_options(settings)
    hosts = collect_hosts(options.pop("bootstrap_servers"), randomize=False)
    error: Exception | None = None
    for host, port, _ in hosts:
        try:
            async with asyncio.timeout(timeout / len(hosts)):
                connection = await create_conn(host, port, **options)
        except _NO_LOGIN as refused:
            raise ConfigurationError(
                f"Kafka at {host}:{port} refuses our credentials: {refused}. Check SIGHTLINE_KAFKA__SASL_USERNAME, "
                "SIGHTLINE_KAFKA__SASL_PASSWORD and SIGHTLINE_KAFKA__SASL_MECHANISM"
            ) from refused
        except ssl.SSLCertVerificationError as refused:
            raise ConfigurationError(
                f"Kafka at {host}:{port} shows a certificate that is not trusted: {refused.verify_message}. Name the "
                "certificate authority of your brokers in SIGHTLINE_KAFKA__SSL_CA_FILE, and them as it does"
            ) from refused
        except (KafkaError, OSError) as failed:
            error = failed
        else:
            connection.close()
            return None
    return error
