"""`/health`: one answer with all the fields that three existing services have there (docs/moving.md)."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from services.search.embedding import EmbeddingEngine
from services.search.vectors.embed_answers import API_VERSION

HealthyWord = Literal["healthy", "ok"]
"""What `status` says when all is well: existing clients compare it with one of the two."""


class HealthAnswer(BaseModel):
    """Whether the model is loaded, and which it is. What is not known before is null until it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "healthy",
                "model_loaded": True,
                "model": "ViT-B-32/laion2b_s34b_b79k",
                "version": API_VERSION,
                "dimension": 512,
                "device": "cuda:0",
            }
        }
    )

    status: HealthyWord | Literal["starting"]
    model_loaded: bool
    model: str | None = None
    version: str = Field(API_VERSION, examples=[API_VERSION], description="Of the form of these answers.")
    dimension: int | None = None
    device: str | None = Field(None, examples=["cpu", "cuda:0"])


def health_router(engine: EmbeddingEngine, *, healthy: HealthyWord = "healthy") -> APIRouter:
    """The route over an engine whose model is loaded."""
    router = APIRouter(tags=["operation"])

    @router.get("/health", summary="Is the model loaded, and which is it?", response_model=HealthAnswer)
    async def health() -> Response:
        """200 once the model is loaded, 503 with `status` "starting" before."""
        identity = engine.encoder.identity
        answer = HealthAnswer(
            status=healthy,
            model_loaded=True,
            model=identity.model,
            dimension=identity.dimension,
            device=engine.encoder.device,
        )
        return _answer(answer, 200)

    return router


def starting_health_router(model: str) -> APIRouter:
    """The route of a process that is still loading the model of that name."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> Response:
        return _answer(HealthAnswer(status="starting", model_loaded=False, model=model), 503)

    return router


def _answer(answer: HealthAnswer, status: int) -> Response:
    body = to_json(answer.model_dump())
    return Response(body, status, {"Cache-Control": "no-store"}, media_type="application/json")
