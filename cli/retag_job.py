"""Tagging anew in a process that keeps an index open, and what such a process and `sightline retag` compare."""

import hashlib
import json

from cli.parts import Parts
from cli.tagging import vocabulary_of
from encoders.tagger import Tagger
from encoders.vocabulary import Vocabulary
from runtime.settings import TagSettings
from schemas.collection import collection_name
from services.embedder.tagging import Tagging
from services.indexer.retag_job import RetagJob
from stores.vectors import VectorIndex


def tag_settings_digest(settings: TagSettings, vocabulary: Vocabulary) -> str:
    """Equal where two processes of one model make the same tags; known without the model."""
    decides = [vocabulary.tags, vocabulary.prompts, min(settings.top_k, len(vocabulary)), settings.least_score]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def make_retag_job(parts: Parts, index: VectorIndex, tagging: Tagging | None) -> RetagJob:
    """The job over an entered index, with the tags that the embedder of this process makes."""

    async def tagger() -> Tagger | None:
        return None if tagging is None else await tagging.tagger()

    settings = parts.settings.tags
    return RetagJob(
        index,
        tagger,
        collection=collection_name(parts.settings.encoder.model),
        settings=tag_settings_digest(settings, vocabulary_of(settings)) if settings.enabled else "",
        log=parts.log,
    )
