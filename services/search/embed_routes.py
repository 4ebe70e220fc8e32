"""`/embed/...`: bare vectors, with the paths and fields of an image manager's embedding services.

Unknown fields are ignored, as those services do.
"""

import base64
import binascii
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.search.answers import json_response
from services.search.body import read_json, too_large_image
from services.search.embedding import EmbeddingEngine
from services.search.limits import SearchLimits
from services.search.problems import bad_parameter

API_VERSION = "1.0"
"""What the field `version` says: the version of these answers' form, not of the model."""


class TextsBody(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(json_schema_extra={"example": {"texts": ["a red bicycle", "a beach at dusk"]}})

    texts: list[str]


class Base64ImageBody(BaseModel):
    """An encoded image in base64; a `data:` URL is understood too."""

    model_config = ConfigDict(json_schema_extra={"example": {"image_base64": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB..."}})

    image_base64: str


class Embedding(BaseModel):
    """One unit vector."""

    embedding: list[float]
    dimension: int
    model: str
    version: str = Field(examples=[API_VERSION])


class Embeddings(BaseModel):
    """Unit vectors, in the order of what was sent."""

    embeddings: list[list[float]]
    dimension: int
    model: str
    version: str = Field(examples=[API_VERSION])


def embed_router(engine: EmbeddingEngine, limits: SearchLimits) -> APIRouter:
    """The routes of embedding."""
    router = APIRouter(prefix="/embed", tags=["embed"])

    def answer(**vectors: object) -> Response:
        identity = engine.encoder.identity
        return json_response(
            vectors | {"dimension": identity.dimension, "model": identity.model, "version": API_VERSION}
        )

    @router.post("/texts", summary="Embed texts", response_model=Embeddings, openapi_extra=_json(TextsBody))
    async def embed_texts(request: Request) -> Response:
        """A unit vector for each text, in order."""
        texts = (await read_json(request, TextsBody, limits.json_bytes)).texts
        if len(texts) > limits.texts:
            raise bad_parameter(
                "texts", f"it has {len(texts)} texts; at most {limits.texts} are embedded at once: send several batches"
            )
        for number, text in enumerate(texts):
            if len(text) > limits.text_characters:
                raise bad_parameter(
                    f"texts.{number}", f"it has {len(text)} characters; at most {limits.text_characters} are read"
                )
        return answer(embeddings=(await engine.embed_texts(texts)).tolist() if texts else [])

    @router.post(
        "/image/base64", summary="Embed an image", response_model=Embedding, openapi_extra=_json(Base64ImageBody)
    )
    async def embed_image(request: Request) -> Response:
        """The unit vector of an image."""
        body = await read_json(request, Base64ImageBody, limits.base64_body_bytes)
        data = _decode(body.image_base64)
        if len(data) > limits.image_bytes:
            raise too_large_image(limits)
        return answer(embedding=(await engine.embed_image(data)).vector.tolist())

    return router


def _decode(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        # MIME breaks base64 into lines; any other stray character means that it is no base64 at all.
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_parameter("image_base64", f"it is no base64: {error}") from None
    if not data:
        raise bad_parameter("image_base64", "it is empty")
    return data


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}},
    }
