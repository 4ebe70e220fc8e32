"""What the apps of this service have in common, and the app of one model alone: vectors, without any index."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse
from prometheus_client import CollectorRegistry

from runtime.probe_routes import probe_router
from runtime.probes import Probes
from runtime.release import RELEASE
from services.search.access import access_router, declare_security
from services.search.answers import ProblemAnswer
from services.search.embedding import EmbeddingEngine
from services.search.health_routes import HealthyWord, health_router
from services.search.limits import SearchLimits
from services.search.load import BoundedEngine
from services.search.problems import install_handlers
from services.search.reference import reference_page
from services.search.request_metrics import RequestMetrics
from services.search.urls.linked_images import ImageFetcher, LinkedImages
from services.search.urls.url_images import NoUrls
from services.search.vectors.embed_routes import embed_router

_ERRORS = (
    "Errors are problem details (RFC 9457) with the fields type, title, status, detail and remedy. Times without a "
    "zone are UTC."
)
_PROBLEM: dict[str, Any] = {
    "model": ProblemAnswer,
    "content": {"application/problem+json": {}},
    "description": "What is wrong, and what to do.",
}


def plain_app(purpose: str, registry: CollectorRegistry, shown: Sequence[str] = ()) -> FastAPI:
    """An app without routes but /docs, whose errors are problems and whose requests are counted, `shown` from 0."""
    app = FastAPI(
        title="Sightline",
        version=RELEASE,
        description=f"{purpose} {_ERRORS}",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": _PROBLEM, "503": _PROBLEM},
    )
    app.add_middleware(RequestMetrics, registry=registry, shown=shown)
    install_handlers(app)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(reference_page(app.openapi()))

    return app


def embedding_app(
    engine: EmbeddingEngine,
    *,
    probes: Probes,
    registry: CollectorRegistry,
    limits: SearchLimits = SearchLimits(),
    routers: Sequence[APIRouter] = (),
    waiting: int = 256,
    urls: ImageFetcher | None = None,
    healthy: HealthyWord = "healthy",
) -> FastAPI:
    """Vectors by one model, its health, and what `routers` bring. The parameters are those of `create_app`."""
    app = plain_app("Gives texts and images vectors by one model.", registry)
    app.include_router(embed_router(BoundedEngine.around(engine, waiting), limits, LinkedImages(urls or NoUrls())))
    for router in routers:
        app.include_router(router)
    app.include_router(health_router(engine, healthy=healthy))
    app.include_router(access_router())
    app.include_router(probe_router(probes, registry))
    declare_security(app)
    return app
