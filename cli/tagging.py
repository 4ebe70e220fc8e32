"""The tags that the settings ask for: vocabulary and tagger."""

from encoders.engine import EncoderEngine
from encoders.tagger import Tagger
from encoders.vocabulary import Vocabulary, make_vocabulary
from runtime.settings import TagSettings


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
