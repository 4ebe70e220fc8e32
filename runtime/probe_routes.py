"""What an operator asks of any process over HTTP: `/startupz`, `/livez`, `/readyz`, `/metrics`."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from runtime.probes import Probes, Report
from runtime.release import RELEASE

RETRY_AFTER_SECONDS = "5"

_NO_STORE = {"Cache-Control": "no-store"}
_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"description": "No; the answer's `problems` say why."}}


def probe_router(probes: Probes, registry: CollectorRegistry) -> APIRouter:
    """The four routes, to be included in an app that has others."""
    router = APIRouter(tags=["operation"])

    @router.get("/startupz", summary="Has the process started?", responses=_UNAVAILABLE)
    async def startupz() -> JSONResponse:
        """503 until everything is loaded and wired, the model above all, and 200 ever after.
        200 also once it only waits for a dependency that is away, which delays readiness instead.
        """
        return _answer(probes.startup())

    @router.get("/livez", summary="Is the process alive?", responses=_UNAVAILABLE)
    async def livez() -> JSONResponse:
        """503 when the event loop hangs or a stage makes no progress: restart the process.
        Waiting for a dependency that is away counts as alive.
        """
        return _answer(probes.liveness())

    @router.get("/readyz", summary="Is the process ready for work?", responses=_UNAVAILABLE)
    async def readyz() -> JSONResponse:
        """503 while a component is not ready; the answer names it and says why."""
        return _answer(probes.readiness())

    @router.get("/metrics", summary="Metrics in the format of Prometheus or OpenMetrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        """The metrics of this process, in the format that `Accept` asks for."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers=_NO_STORE | {"Content-Type": content_type})

    return router


def probe_app(probes: Probes, registry: CollectorRegistry) -> FastAPI:
    """An app with nothing but these routes, for a process without an API, or whose API is still loading.

    Other paths are 503 with `Retry-After` until the process is ready, since they may exist then, and 404 after.
    """
    app = FastAPI(title="Sightline", version=RELEASE, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(probe_router(probes, registry))

    @app.exception_handler(404)
    async def nothing_here(_: Request, __: Exception) -> JSONResponse:
        report = probes.readiness()
        if report.ok:
            return _problem(
                404, "no-such-page", "This process has no API.", "It answers /startupz, /livez, /readyz and /metrics."
            )
        return _problem(
            503,
            "starting",
            "; ".join(report.body["problems"]) + ".",
            "Try again in a moment; GET /readyz says when.",
            headers={"Retry-After": RETRY_AFTER_SECONDS},
        )

    return app


def _problem(
    status: int, kind: str, detail: str, remedy: str, *, headers: dict[str, str] | None = None
) -> JSONResponse:
    body = {
        "type": f"urn:sightline:problem:{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "remedy": remedy,
    }
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def _answer(report: Report) -> JSONResponse:
    return JSONResponse(dict(report.body), status_code=200 if report.ok else 503, headers=_NO_STORE)
