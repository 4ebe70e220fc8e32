"""The tags that the settings ask for: vocabulary, tagger, and the embedder's use of it."""

from cli.parts import Parts
from encoders.engine import EncoderEngine
from encoders.tagger import Tagger
from encoders.vocabulary import Vocabulary, make_vocabulary
from runtime.settings import TagSettings
from services.embedder.tagging import Tagging


def vocabulary_of(settings: TagSettings) -> Vocabulary:
    """The vocabulary. Raises `ConfigurationError`, for a file that cannot be read too."""
    return make_vocabulary(
        settings.vocabulary,
        file=settings.vocabulary_file,
        defaults=settings.defaults,
        templates=settings.templates,
    )


async def make_tagger(settings: TagSettings, engine: EncoderEngine, vocabulary: Vocabulary | None = None) -> Tagger:
    """The tagger of an entered engine. Raises `TagsImpossible` for a model whose words name no pictures."""
    return await Tagger.build(
        vocabulary or vocabulary_of(settings), engine, top_k=settings.top_k, least_score=settings.least_score
    )


def make_tagging(parts: Parts, engine: EncoderEngine) -> Tagging | None:
    """Tags for the embedder, where they are wanted; not entered yet. Raises `ConfigurationError` for a vocabulary."""
    settings = parts.settings.tags
    if not settings.enabled:
        return None
    vocabulary = vocabulary_of(settings)
    return Tagging(lambda: make_tagger(settings, engine, vocabulary), parts.log)
