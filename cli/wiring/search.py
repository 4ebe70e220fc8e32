"""Search: the HTTP API over the index and the model, which the process's other services may share."""

from fastapi import FastAPI

from cli.assembly import Assembly, Service
from cli.canary import CanaryCheck, ensure_collection
from cli.image_urls import image_urls
from cli.model_metrics import watch_model
from cli.models import make_engine
from cli.one_image import one_image_of_settings
from cli.originals import KnownStores
from cli.photo_tagging import make_photo_tags
from cli.serving import index_status, search_app
from cli.wiring.indexer import open_index
from encoders.engine import EncoderEngine
from runtime.lifecycle import Component
from schemas.topics import IMAGE_EVENTS
from services.search.answers import StatusAnswer
from services.search.one_image.retry import Hints


async def load(assembly: Assembly) -> EncoderEngine:
    """The engine of this process, loaded: that may take minutes, and needs none of what the process is wired to."""

    async def loaded() -> EncoderEngine:
        engine = await assembly.enter(make_engine(assembly.parts))
        watch_model(engine, assembly.parts.registry, assembly.probes, assembly.parts.log)
        return engine

    engine: EncoderEngine = await assembly.share("engine", loaded)
    return engine


async def wire(assembly: Assembly) -> None:
    """Add search to a process."""
    engine = await load(assembly)
    index = await open_index(assembly)
    urls = await assembly.entered.enter_async_context(image_urls(assembly.parts.settings.urls))

    async def checked() -> CanaryCheck:
        check = await ensure_collection(index, engine, assembly.parts, writes=False, start=assembly.start)
        assembly.groups[Service.SEARCH].append(Component("canary", check.run))
        return check

    await assembly.share("canary", checked)

    stores = await assembly.entered.enter_async_context(KnownStores(assembly.parts.settings))
    one_image = one_image_of_settings(
        assembly.parts.settings, stores, hints=await _hints(assembly), waiting_for=assembly.waiting_for
    )

    lag = assembly.transport.lag()
    assembly.groups[Service.SEARCH].append(Component("lag", lag.run))

    async def status() -> StatusAnswer:
        return await index_status(
            index,
            engine,
            runs=[service.value for service in assembly.services],
            since=assembly.since,
            waiting=lag.records,
            waiting_for=assembly.waiting_for(),
        )

    photos = make_photo_tags(assembly.parts, engine)
    assembly.groups[Service.SEARCH].append(photos.component)

    def application() -> FastAPI:
        routers = [*assembly.routers, photos.router]
        return search_app(
            assembly.parts, index, photos.engine, assembly.probes, status, routers, urls=urls, one_image=one_image
        )

    assembly.application = application


async def _hints(assembly: Assembly) -> Hints | None:
    """A way to the embedder, if this process has one: Kafka, or the embedder in this very process."""
    if not assembly.parts.settings.kafka.bootstrap_servers and Service.EMBEDDER not in assembly.services:
        return None
    return Hints(assembly.parts.tracing.beginning(await assembly.publisher(IMAGE_EVENTS)))
