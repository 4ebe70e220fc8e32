"""The embedder: hints in, judgements out, one engine for all consumers of the process."""

from cli.assembly import Assembly, Service
from cli.models import make_engine
from cli.sources import S3Buckets
from encoders.engine import EncoderEngine
from schemas.codec import decode_image_event
from schemas.topics import IMAGE_EMBEDDINGS, IMAGE_EVENTS
from services.embedder.metrics import EmbedderMetrics
from services.embedder.stage import EmbedderStage


async def wire(assembly: Assembly) -> None:
    """Add the embedder to a process."""
    settings = assembly.parts.settings
    metrics = EmbedderMetrics(assembly.parts.registry)

    async def engine_with_metrics() -> EncoderEngine:
        return await assembly.entered.enter_async_context(make_engine(assembly.parts, metrics))

    stage = EmbedderStage(
        await assembly.entered.enter_async_context(S3Buckets(settings)),
        await assembly.share("engine", engine_with_metrics),
        metrics=metrics,
        cache_entries=settings.encoder.cache_entries,
        in_hand=2 * settings.encoder.batch_size,
        in_hand_bytes=settings.limits.in_hand_bytes,
    )
    await assembly.consume(
        Service.EMBEDDER,
        IMAGE_EVENTS,
        stage,
        lambda record: decode_image_event(record.value, record.headers),
        out=IMAGE_EMBEDDINGS,
        consumers=settings.encoder.consumers,
    )
