"""The embedder: hints in, judgements out, one engine for all consumers of the process."""

from cli.assembly import Assembly, Service
from cli.canary import CanaryCheck, ensure_collection
from cli.model_metrics import watch_model
from cli.models import make_engine
from cli.retag_job import make_retag_job
from cli.sources import S3Buckets
from cli.tagging import make_tagging
from cli.warm_up import tell_model
from cli.wiring.indexer import open_index
from encoders.engine import EncoderEngine
from runtime.lifecycle import Component
from schemas.codec import decode_image_event
from schemas.topics import IMAGE_EMBEDDINGS, IMAGE_EVENTS
from services.embedder.metrics import EmbedderMetrics
from services.embedder.stage import EmbedderStage


async def load(assembly: Assembly) -> EncoderEngine:
    """The engine of this process, loaded: that may take minutes, and needs none of what the process is wired to."""
    metrics = await _metrics(assembly)

    async def loaded() -> EncoderEngine:
        engine = await assembly.enter(make_engine(assembly.parts, metrics))
        metrics.watch(engine)
        watch_model(engine, assembly.parts.registry, assembly.probes, assembly.parts.log)
        return engine

    engine: EncoderEngine = await assembly.share("engine", loaded)
    return engine


async def wire(assembly: Assembly) -> None:
    """Add the embedder to a process."""
    settings = assembly.parts.settings
    metrics, engine = await _metrics(assembly), await load(assembly)
    await _check_vectors(assembly, engine)
    tagging = make_tagging(assembly.parts, engine)
    stage = EmbedderStage(
        await assembly.enter(S3Buckets(settings)),
        engine,
        metrics=metrics,
        cache_entries=settings.encoder.cache_entries,
        in_hand=2 * settings.encoder.batch_size,
        in_hand_bytes=settings.limits.in_hand_bytes,
        tagging=tagging,
        with_location=settings.payload.gps,
    )
    await assembly.consume(
        Service.EMBEDDER,
        IMAGE_EVENTS,
        stage,
        lambda record: decode_image_event(record.value, record.headers),
        out=IMAGE_EMBEDDINGS,
        consumers=settings.encoder.consumers,
    )
    if not settings.qdrant.url and Service.INDEXER in assembly.services:
        # Nobody else can open this index.
        retag = make_retag_job(assembly.parts, await open_index(assembly), tagging)
        assembly.routers.append(retag.router)
        assembly.groups[Service.EMBEDDER].append(Component("retag", retag.run))


async def _metrics(assembly: Assembly) -> EmbedderMetrics:
    async def made() -> EmbedderMetrics:
        price = assembly.parts.settings.cost.device_dollars_per_hour
        return EmbedderMetrics(assembly.parts.registry, dollars_per_hour=price)

    metrics: EmbedderMetrics = await assembly.share("embedder metrics", made)
    return metrics


async def _check_vectors(assembly: Assembly, engine: EncoderEngine) -> None:
    """See that the collection holds this engine's vectors, where this process can reach it at all."""
    parts = assembly.parts
    if not parts.settings.qdrant.url and Service.INDEXER not in assembly.services:
        # An Edge index is open in the indexer's process alone.
        tell_model(engine, parts)
        parts.log.warning(
            "canary_unchecked",
            "this embedder cannot see the index, so nothing compares its vectors with those stored; set "
            "SIGHTLINE_QDRANT__URL, or run it in one process with the indexer",
        )
        return
    index = await open_index(assembly)

    async def checked() -> CanaryCheck:
        check = await ensure_collection(index, engine, parts, writes=True, start=assembly.start)
        assembly.groups[Service.EMBEDDER].append(Component("canary", check.run))
        return check

    await assembly.share("canary", checked)
