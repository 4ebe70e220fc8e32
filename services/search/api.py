"""The search service as an ASGI app, made of what it is given: nothing is opened here, and nothing is global."""

from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CollectorRegistry

from runtime.probe_routes import probe_router
from runtime.probes import Probes
from services.search.access import access_router, declare_security
from services.search.answers import StatusAnswer, json_response
from services.search.collection import Collection
from services.search.embedding import EmbeddingEngine
from services.search.health_routes import HealthyWord, health_router
from services.search.limits import SearchLimits
from services.search.listing.export_routes import Export, export_router
from services.search.listing.facet_routes import facet_router
from services.search.listing.image_routes import image_router
from services.search.listing.listing import Listing
from services.search.listing.statistics import Statistics
from services.search.load import BoundedEngine
from services.search.one_image.parts import OneImage, one_image_router
from services.search.page_routes import page_router
from services.search.photo_search import photo_search_router
from services.search.ranking.duplicate_routes import duplicate_router
from services.search.ranking.duplicates import Duplicates
from services.search.ranking.query import Searcher
from services.search.ranking.search_routes import search_router
from services.search.service_app import plain_app
from services.search.urls.linked_images import ImageFetcher, LinkedImages
from services.search.urls.url_images import NoUrls
from services.search.vectors.embed_routes import embed_router
from stores.vectors import VectorIndex

StatusSource = Callable[[], Awaitable[StatusAnswer]]

_PURPOSE = "Finds images by words, by other images, by place and by date."


def create_app(
    index: VectorIndex,
    engine: EmbeddingEngine,
    *,
    probes: Probes,
    registry: CollectorRegistry,
    limits: SearchLimits = SearchLimits(),
    status: StatusSource | None = None,
    routers: Sequence[APIRouter] = (),
    waiting: int = 256,
    urls: ImageFetcher | None = None,
    healthy: HealthyWord = "healthy",
    one_image: OneImage = OneImage(),
) -> FastAPI:
    """The app. Index and engine are entered and left by the caller, and open before the first request.

    `status` answers GET /v1/status. `routers` (a webhook, administration) are mounted as they are.
    `waiting` images at most wait for the model at a time; beyond it requests are answered with 429.
    `urls` fetches the images that requests name by URL; without it they are refused. `healthy` is what `status` of
    GET /health says. `one_image` shows originals and thumbnails, explains, and asks for another look.
    """
    # Rules tell the processes that search by this route from those that only embed.
    app = plain_app(_PURPOSE, registry, shown=["/v1/search"])
    engine = BoundedEngine.around(engine, waiting)
    collection = Collection(index)
    linked = None if urls is None else LinkedImages(urls)
    searcher = Searcher(index, engine, collection, urls=linked)
    app.include_router(search_router(searcher, limits))
    app.include_router(image_router(searcher, Listing(index, collection)))
    app.include_router(facet_router(Statistics(index, collection)))
    app.include_router(duplicate_router(Duplicates(index, collection)))
    app.include_router(export_router(Export(index, collection, searcher, limits)))
    app.include_router(embed_router(engine, limits, linked or LinkedImages(NoUrls())))
    app.include_router(photo_search_router(searcher, limits))
    app.include_router(health_router(engine, healthy=healthy))
    app.include_router(one_image_router(searcher, index, engine, one_image))
    if status is not None:
        app.include_router(_status_router(status))
    for router in routers:
        app.include_router(router)
    app.include_router(access_router())
    app.include_router(probe_router(probes, registry))
    app.include_router(page_router())
    declare_security(app)
    return app


def _status_router(status: StatusSource) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["operation"])

    @router.get("/status", summary="What runs, since when, and how much is indexed", response_model=StatusAnswer)
    async def answer() -> Response:
        """What runs here, since when, with which model, and how much is indexed, rejected, gone and waiting."""
        return json_response((await status()).model_dump(mode="json"))

    return router
