"""The fetcher of images by URL is what the settings say, and no setting opens it to inner addresses."""

from ipaddress import ip_network

import pytest

from cli.image_urls import image_urls
from runtime.settings import load_settings
from schemas.errors import ConfigurationError
from services.search.urls.url_images import UrlImages, UrlLimits, UrlRefused
from tests.unit.search.internet import answer, site


async def limits_of(**environment: str) -> UrlLimits:
    settings = load_settings({f"SIGHTLINE_URLS__{name}": value for name, value in environment.items()})
    async with image_urls(settings.urls) as urls:
        assert isinstance(urls, UrlImages)
        return urls.limits


async def test_by_default_the_limits_are_the_fetcher_s_own() -> None:
    assert await limits_of() == UrlLimits()


async def test_each_setting_arrives() -> None:
    limits = await limits_of(
        SECONDS="3",
        MAX_BYTES="5000",
        CONCURRENCY="2",
        PORTS="443, 8443",
        HOSTS="Photos.example,.cdn.example",
        REFUSED_NETWORKS="198.51.0.0/16,2001:db8::/32",
    )
    assert (limits.seconds, limits.image_bytes, limits.concurrency) == (3, 5000, 2)
    assert limits.ports == {443, 8443}
    assert limits.hosts == ("photos.example", ".cdn.example")
    assert limits.refused_networks == (ip_network("198.51.0.0/16"), ip_network("2001:db8::/32"))


async def test_switched_off_there_is_none() -> None:
    async with image_urls(load_settings({"SIGHTLINE_URLS__ENABLED": "false"}).urls) as urls:
        assert urls is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORTS", "0", "0 is no port"),
        ("PORTS", "http", "SIGHTLINE_URLS__PORTS"),
        ("HOSTS", "https://photos.example", "is no host"),
        ("HOSTS", "photos.example:443", "is no host"),
        ("REFUSED_NETWORKS", "10.0.0.1/8", "is no network"),
        ("SECONDS", "0", "SIGHTLINE_URLS__SECONDS"),
        ("ALLOW_PRIVATE", "true", "no such setting"),
    ],
)
def test_a_value_that_cannot_work_is_named_with_what_to_do(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load_settings({f"SIGHTLINE_URLS__{name}": value})


async def test_the_most_that_can_be_set_leads_to_no_inner_address() -> None:
    async with site(answer()) as sink:
        settings = load_settings(
            {"SIGHTLINE_URLS__PORTS": f"80,443,{sink.port}", "SIGHTLINE_URLS__HOSTS": "127.0.0.1,localhost,.localhost"}
        )
        async with image_urls(settings.urls) as urls:
            assert urls is not None
            for host in ("127.0.0.1", "localhost", "a.localhost"):
                with pytest.raises(UrlRefused):
                    await urls.fetch(f"http://{host}:{sink.port}/")
        assert await sink.untouched()
