"""The index that the settings name: a Qdrant server, or Qdrant Edge under the data folder."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.parts import Parts
from schemas.collection import CollectionMetadata, collection_name
from stores.edge import EdgeIndex
from stores.qdrant_server import QdrantIndex
from stores.vectors import VectorIndex

if TYPE_CHECKING:
    from encoders.engine import EncoderEngine


def make_index(parts: Parts) -> VectorIndex:
    """The collection of the model that the settings name; not opened yet."""
    settings = parts.settings
    collection = collection_name(settings.encoder.model)
    qdrant = settings.qdrant
    if qdrant.url:
        return QdrantIndex(
            collection,
            url=qdrant.url,
            api_key=qdrant.api_key.get_secret_value(),
            grpc_port=qdrant.grpc_port,
            timeout=qdrant.timeout,
        )
    return EdgeIndex(settings.data_dir / "index", collection)


async def ensure_collection(index: VectorIndex, engine: "EncoderEngine", parts: Parts) -> CollectionMetadata:
    """The collection of an entered engine, made where it is missing. Raises `ForeignCollection`.

    The log line about the model is a first look at the bottleneck.
    """
    warm = engine.warm_up
    identity = engine.encoder.identity
    parts.log.info(
        "model_ready",
        f"{identity.model} on {engine.encoder.device}",
        fingerprint=identity.fingerprint,
        dimension=identity.dimension,
        **({} if warm is None else {**asdict(warm), "images_per_second": round(warm.images_per_second, 1)}),
    )
    return await index.ensure(CollectionMetadata(encoder=identity, created_at=datetime.now(UTC)))
