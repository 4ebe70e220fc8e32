"""Search: the HTTP API over the index and the model, which the process's other services may share."""

from fastapi import FastAPI

from cli.assembly import Assembly, Service
from cli.canary import CanaryCheck, ensure_collection
from cli.models import make_engine
from cli.serving import index_status, search_app
from cli.wiring.indexer import open_index
from encoders.engine import EncoderEngine
from runtime.lifecycle import Component
from services.search.answers import StatusAnswer


async def wire(assembly: Assembly) -> None:
    """Add search to a process."""

    async def entered_engine() -> EncoderEngine:
        return await assembly.entered.enter_async_context(make_engine(assembly.parts))

    engine: EncoderEngine = await assembly.share("engine", entered_engine)
    index = await open_index(assembly)

    async def checked() -> CanaryCheck:
        check = await ensure_collection(index, engine, assembly.parts, writes=False)
        assembly.groups[Service.SEARCH].append(Component("canary", check.run))
        return check

    await assembly.share("canary", checked)

    async def status() -> StatusAnswer:
        return await index_status(
            index,
            engine,
            runs=[service.value for service in assembly.services],
            since=assembly.since,
            waiting_for=assembly.waiting_for(),
        )

    def application() -> FastAPI:
        return search_app(assembly.parts, index, engine, assembly.probes, status, assembly.routers)

    assembly.application = application
