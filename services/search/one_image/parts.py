"""Everything that may be asked about one image, and what a process has to give for it."""

from dataclasses import dataclass

from fastapi import APIRouter

from services.search.embedding import EmbeddingEngine
from services.search.one_image.explain_routes import explain_router
from services.search.one_image.explanation import Explainer, IntakeRules
from services.search.one_image.originals import Originals
from services.search.one_image.retry import Hints, retry_router
from services.search.one_image.single_image_routes import single_image_router
from services.search.one_image.thumbnails import Thumbnails
from services.search.ranking.query import Searcher
from stores.vectors import VectorIndex


@dataclass(frozen=True)
class OneImage:
    """What this process can do for one image; each part may be missing, and the answers then say so.

    `originals`: see the objects; `thumbnails`: draw them; `hints`: ask the pipeline to look again; `rules`: tell
    what is taken in.
    """

    originals: Originals | None = None
    thumbnails: Thumbnails | None = None
    hints: Hints | None = None
    rules: IntakeRules | None = None


def one_image_router(searcher: Searcher, index: VectorIndex, engine: EmbeddingEngine, parts: OneImage) -> APIRouter:
    """All routes about one image but the first, `GET /v1/images/{id}`."""
    router = APIRouter()
    router.include_router(single_image_router(searcher, parts.originals, parts.thumbnails))
    router.include_router(explain_router(searcher, index, engine, Explainer(parts.originals, parts.rules)))
    router.include_router(retry_router(searcher, index, parts.hints))
    return router
