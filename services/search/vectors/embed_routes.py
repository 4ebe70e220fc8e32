"""`/embed/...`: bare vectors, with the paths and fields of existing embedding services (docs/moving.md).

Where two of them share a path, the request's own shape tells which answer is wanted. Unknown fields are ignored, as
those services do.
"""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from services.search.access import caller_of
from services.search.answers import json_response
from services.search.base64_images import decode_base64
from services.search.body import read_form_file, read_json, too_large_image
from services.search.embedding import EmbeddingEngine
from services.search.limits import SearchLimits
from services.search.modality import check_takes_images, vectors_of_words
from services.search.openapi import json_body, json_content
from services.search.problems import Problem, ProblemKind, bad_parameter
from services.search.together import both, while_connected
from services.search.urls.linked_images import LinkedImages
from services.search.vectors.embed_answers import (
    API_VERSION,
    BareEmbedding,
    BareEmbeddings,
    Base64ImageBody,
    Embedding,
    Embeddings,
    MixedBody,
    MixedEmbeddings,
    TextOrTextsBody,
    TextsBody,
    UrlsBody,
    form_body,
    form_content,
)
from services.search.vectors.url_embedding import UrlEmbedder


def embed_router(engine: EmbeddingEngine, limits: SearchLimits, urls: LinkedImages) -> APIRouter:
    """The routes of embedding. `urls` fetches images."""
    router = APIRouter(tags=["embed"])
    vectors = _Vectors(engine, limits, urls)

    def told(**answer: object) -> Response:
        identity = engine.encoder.identity
        return json_response(
            answer | {"dimension": identity.dimension, "model": identity.model, "version": API_VERSION}
        )

    @router.post(
        "/embed", summary="Embed an uploaded image", response_model=BareEmbedding, openapi_extra=form_body("image")
    )
    async def embed(request: Request) -> Response:
        """The unit vector of the image in the form's field `image`, and nothing else."""
        return json_response({"embedding": await vectors.of_upload(request, "image")})

    @router.post(
        "/embed/text",
        summary="Embed one text, or several",
        response_model=Embedding | BareEmbeddings,
        openapi_extra=json_body(
            TextOrTextsBody,
            {"one text": {"text": "a red bicycle"}, "several": {"texts": ["a red bicycle", "a beach at dusk"]}},
        ),
    )
    async def embed_text(request: Request) -> Response:
        """For `{"text"}` its unit vector with dimension, model and version; for `{"texts"}` bare `embeddings`."""
        body = await read_json(request, TextOrTextsBody, limits.json_bytes)
        if body.text is not None:
            vectors.check_text("text", body.text)
            return told(embedding=(await vectors.of_texts([body.text]))[0])
        return json_response({"embeddings": await vectors.of_texts(body.texts or [])})

    @router.post("/embed/texts", summary="Embed texts", response_model=Embeddings, openapi_extra=json_body(TextsBody))
    async def embed_texts(request: Request) -> Response:
        """A unit vector for each text, in order."""
        return told(embeddings=await vectors.of_texts((await read_json(request, TextsBody, limits.json_bytes)).texts))

    @router.post(
        "/embed/image",
        summary="Embed an uploaded image, or images by their URLs",
        response_model=Embedding | BareEmbeddings,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": form_content("file"),
                    "application/json": json_content(UrlsBody),
                },
            }
        },
    )
    async def embed_image(request: Request) -> Response:
        """A form's `file`: its unit vector with dimension, model and version. JSON `{"urls"}`: bare `embeddings`.

        A URL that fails has an empty embedding; the others have theirs, and the answer is 200.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return told(embedding=await vectors.of_upload(request, "file"))
        if kind.startswith("image/") or kind == "application/octet-stream":
            raise Problem(
                415,
                ProblemKind.UNSUPPORTED_BODY,
                f"A body of type {kind[:60]} is not understood.",
                'Send the image in a form, like `curl -F file=@photo.jpg`, or {"urls": ["https://..."]} as JSON.',
            )
        body = await read_json(request, UrlsBody, limits.json_bytes)
        return json_response({"embeddings": await while_connected(request, vectors.of_urls(body.urls, request))})

    @router.post(
        "/embed/image/base64",
        summary="Embed an image in base64",
        response_model=Embedding,
        openapi_extra=json_body(Base64ImageBody),
    )
    async def embed_base64(request: Request) -> Response:
        """The unit vector of an image."""
        body = await read_json(request, Base64ImageBody, limits.base64_body_bytes)
        data = await decode_base64(body.image_base64, "image_base64")
        return told(embedding=await vectors.of_image(data))

    @router.post(
        "/embed/mixed",
        summary="Embed texts, and images by their URLs",
        response_model=MixedEmbeddings,
        openapi_extra=json_body(MixedBody),
    )
    async def embed_mixed(request: Request) -> Response:
        """Unit vectors for texts and for images by their URLs, each in order; a URL that fails has an empty one."""
        body = await read_json(request, MixedBody, limits.json_bytes)
        # No URL is fetched for a request that cannot be answered.
        vectors.check_texts(body.texts)
        work = both(vectors.of_texts(body.texts), vectors.of_urls(body.urls, request))
        texts, images = await while_connected(request, work)
        return json_response({"text_embeddings": texts, "image_embeddings": images})

    return router


class _Vectors:
    """Vectors of what a request holds, within the limits. Every method may raise `Problem`."""

    def __init__(self, engine: EmbeddingEngine, limits: SearchLimits, urls: LinkedImages) -> None:
        self._engine = engine
        self._limits = limits
        self._urls = UrlEmbedder(engine, urls)

    async def of_texts(self, texts: Sequence[str]) -> list[list[float]]:
        self.check_texts(texts)
        if not texts:
            return []
        vectors: list[list[float]] = (await vectors_of_words(self._engine, texts)).tolist()
        return vectors

    def check_texts(self, texts: Sequence[str]) -> None:
        most = self._limits.texts
        if len(texts) > most:
            raise bad_parameter(
                "texts", f"it has {len(texts)} texts; at most {most} are embedded at once: send several batches"
            )
        for number, text in enumerate(texts):
            self.check_text(f"texts.{number}", text)

    def check_text(self, field: str, text: str) -> None:
        most = self._limits.text_characters
        if len(text) > most:
            raise bad_parameter(field, f"it has {len(text)} characters; at most {most} are read")

    async def of_upload(self, request: Request, field: str) -> list[float]:
        check_takes_images(self._engine)
        file = await read_form_file(request, field, self._limits.image_body_bytes, strict=False)
        return await self.of_image(file.data, file.name)

    async def of_image(self, data: bytes, name: str = "") -> list[float]:
        check_takes_images(self._engine)
        if len(data) > self._limits.image_bytes:
            raise too_large_image(self._limits)
        vector: list[float] = (await self._engine.embed_image(data, key=name or None)).vector.tolist()
        return vector

    async def of_urls(self, urls: Sequence[str], request: Request) -> list[list[float]]:
        most = self._limits.urls
        if len(urls) > most:
            raise bad_parameter(
                "urls", f"it has {len(urls)} URLs; at most {most} are fetched at once: send several batches"
            )
        if not urls:
            return []
        check_takes_images(self._engine)
        return await self._urls.embed(urls, caller_of(request).name)
