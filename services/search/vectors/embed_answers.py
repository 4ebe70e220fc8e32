"""What the embedding routes are sent and what they answer, field by field as two existing services have it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

API_VERSION = "1.0"
"""What the field `version` says: the version of these answers' form, not of the model."""

_TEXTS: JsonDict = {"texts": ["a red bicycle", "a beach at dusk"]}
_URLS: JsonDict = {"urls": ["https://example.org/beach.jpg", "https://example.org/gone.jpg"]}


class TextsBody(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(json_schema_extra={"example": _TEXTS})

    texts: list[str]


class TextOrTextsBody(BaseModel):
    """One text, or several; which of the two decides the form of the answer. A field that is null is not there."""

    model_config = ConfigDict(json_schema_extra={"example": {"text": "a red bicycle"}})

    text: str | None = None
    texts: list[str] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "TextOrTextsBody":
        if (self.text is None) == (self.texts is None):
            raise ValueError('send either {"text": "words"} or {"texts": ["words", ...]}')
        return self


class UrlsBody(BaseModel):
    """URLs of images to embed."""

    model_config = ConfigDict(json_schema_extra={"example": _URLS})

    urls: list[str]


class MixedBody(BaseModel):
    """Texts and URLs of images to embed; either may be left out."""

    model_config = ConfigDict(json_schema_extra={"example": _TEXTS | _URLS})

    texts: list[str] = []
    urls: list[str] = []


class Base64ImageBody(BaseModel):
    """An encoded image in base64; a `data:` URL is understood too."""

    model_config = ConfigDict(json_schema_extra={"example": {"image_base64": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB..."}})

    image_base64: str


class BareEmbedding(BaseModel):
    """One unit vector, and nothing else."""

    embedding: list[float]


class BareEmbeddings(BaseModel):
    """Unit vectors, in the order of what was sent; an image that could not be had has an empty one."""

    embeddings: list[list[float]]


class MixedEmbeddings(BaseModel):
    """Unit vectors, in the order of what was sent; an image that could not be had has an empty one."""

    text_embeddings: list[list[float]]
    image_embeddings: list[list[float]]


class Embedding(BaseModel):
    """One unit vector, and whose it is."""

    embedding: list[float]
    dimension: int
    model: str
    version: str = Field(examples=[API_VERSION])


class Embeddings(BaseModel):
    """Unit vectors, in the order of what was sent, and whose they are."""

    embeddings: list[list[float]]
    dimension: int
    model: str
    version: str = Field(examples=[API_VERSION])


def form_body(field: str, *, also: str = "") -> dict[str, Any]:
    """The OpenAPI description of a multipart form with one image."""
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form_content(field, also=also)}}}


def form_content(field: str, *, also: str = "") -> dict[str, Any]:
    """The same for one content type among others."""
    described = f"The bytes of an image; its content type is ignored.{also}"
    return {
        "schema": {
            "type": "object",
            "required": [field],
            "properties": {field: {"type": "string", "format": "binary", "description": described}},
        }
    }
