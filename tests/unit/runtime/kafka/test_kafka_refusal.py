"""What is told of a broker that cannot be spoken to: away where waiting may help, and what to mend where it cannot."""

import asyncio
from pathlib import Path

import pytest

from runtime.kafka.admin import BrokerAway, check_broker
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError
from tests.unit.search.test_url_images_tls import Authority


async def test_a_certificate_that_is_not_trusted_is_named_and_is_no_outage(tmp_path: Path) -> None:
    context = Authority(tmp_path).server("127.0.0.1")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        settings = KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}", security_protocol="SSL")
        with pytest.raises(ConfigurationError, match="SIGHTLINE_KAFKA__SSL_CA_FILE") as refused:
            await check_broker(settings)
    assert not isinstance(refused.value, BrokerAway)


async def test_a_broker_that_hangs_up_is_away() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BrokerAway, match=str(port)) as away:
            await check_broker(KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}"))
    assert away.value.as_outage().dependency == "kafka"


async def test_the_reason_of_the_last_address_is_told() -> None:
    with pytest.raises(BrokerAway, match="ConnectionRefusedError"):
        await check_broker(KafkaSettings(bootstrap_servers="127.0.0.1:1,127.0.0.1:2"))
