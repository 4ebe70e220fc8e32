"""What a model does not take is the mistake of whoever sends it, and no outage (docs/decisions/0021)."""

from collections.abc import Sequence

from encoders.encoder import Modality
from schemas.errors import ConfigurationError
from services.search.embedding import EmbeddingEngine
from services.search.problems import Problem, ProblemKind
from stores.vectors import Vectors


async def vectors_of_words(engine: EmbeddingEngine, texts: Sequence[str]) -> Vectors:
    """Unit vectors of shape (n, dimension), in order.

    Raises `Problem` 422 where the model gives words none, and otherwise what the engine raises.
    """
    try:
        return await engine.embed_texts(texts)
    except ConfigurationError as error:
        # Some models of images give words vectors too, so only the model itself can tell.
        if engine.encoder.modality is not Modality.IMAGES:
            raise
        raise Problem(
            422,
            ProblemKind.MODEL_TAKES_NO_WORDS,
            f"The model {engine.encoder.identity.model} gives words no vector: {error}",
            "Send images here, and texts to a service whose model takes words (`sightline models` lists them).",
        ) from error


def check_takes_images(engine: EmbeddingEngine) -> None:
    """Raises `Problem` 422 where the model takes words only; to be asked before an image is read or fetched."""
    if engine.encoder.modality is Modality.WORDS:
        raise Problem(
            422,
            ProblemKind.MODEL_TAKES_NO_IMAGES,
            f"The model {engine.encoder.identity.model} takes words only, so it gives images no vector.",
            "Send texts here, and images to a service whose model takes them (`sightline models` lists them).",
        )
