"""The fetcher of images by URL, made from the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

from runtime.url_settings import UrlSettings
from services.search.urls.url_images import UrlImages, UrlLimits


@asynccontextmanager
async def image_urls(settings: UrlSettings) -> AsyncIterator[UrlImages | None]:
    """What fetches images by URL; None where that is switched off."""
    if not settings.enabled:
        yield None
        return
    limits = UrlLimits(
        image_bytes=settings.max_bytes,
        seconds=settings.seconds,
        concurrency=settings.concurrency,
        ports=frozenset(settings.ports),
        hosts=settings.hosts,
        refused_networks=tuple(ip_network(one) for one in settings.refused_networks),
    )
    async with UrlImages(limits) as images:
        yield images
