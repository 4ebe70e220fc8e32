"""The indexer: judgements in, points written. It loads no model."""

from cli.assembly import Assembly, Service
from cli.indexes import indexed_model, make_index
from runtime.lifecycle import Component
from schemas.codec import decode_judgement
from schemas.collection import model_label
from schemas.topics import IMAGE_EMBEDDINGS
from services.indexer.metrics import IndexerMetrics
from services.indexer.stage import IndexerStage
from services.indexer.sweep import Sweeper
from stores.vectors import VectorIndex


async def open_index(assembly: Assembly) -> VectorIndex:
    """The index of this process, opened by whoever asks first."""

    async def opened() -> VectorIndex:
        return await assembly.enter(make_index(assembly.parts))

    index: VectorIndex = await assembly.share("index", opened)
    return index


async def wire(assembly: Assembly) -> None:
    """Add the indexer to a process."""
    index = await open_index(assembly)
    stage = IndexerStage(
        index,
        model=model_label(indexed_model(assembly.parts.settings)),
        metrics=IndexerMetrics(assembly.parts.registry, assembly.parts.settings.freshness),
    )
    await assembly.consume(
        Service.INDEXER,
        IMAGE_EMBEDDINGS,
        stage,
        lambda record: decode_judgement(record.value, record.headers),
        out=None,
        consumers=1,
    )
    assembly.groups[Service.INDEXER].append(Component("sweeper", Sweeper(index, assembly.parts.log).run))
