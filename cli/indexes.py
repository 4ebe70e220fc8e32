"""The index that the settings name: a Qdrant server, or Qdrant Edge under the data folder."""

from cli.parts import Parts
from runtime.settings import Settings
from schemas.collection import collection_name
from schemas.errors import ConfigurationError
from stores.sharded_edge import ShardedEdge
from stores.vectors import VectorIndex


def make_index(parts: Parts) -> VectorIndex:
    """The collection of the model that the settings name; not opened yet."""
    settings = parts.settings
    collection = collection_name(indexed_model(settings))
    qdrant = settings.qdrant
    if qdrant.url:
        # Its client takes the better part of a second to import, which every command would wait for.
        from stores.qdrant_making import Layout
        from stores.qdrant_server import QdrantIndex

        return QdrantIndex(
            collection,
            url=qdrant.url,
            api_key=qdrant.api_key.get_secret_value(),
            grpc_port=qdrant.grpc_port,
            timeout=qdrant.timeout,
            layout=Layout(qdrant.shard_number, qdrant.replication_factor),
        )
    return ShardedEdge(settings.data_dir / "index", collection, shards=settings.edge.shards)


def indexed_model(settings: Settings) -> str:
    """The name of the model whose vectors the index holds: the encoder's, unless that one stands for another.

    Raises `ConfigurationError` where a model is stood for by anything but a server of one's own.
    """
    if settings.remote.model and not settings.encoder.model.startswith("self-hosted:"):
        raise ConfigurationError(
            f"SIGHTLINE_REMOTE__MODEL is {settings.remote.model}, but {settings.encoder.model} is no server of your "
            "own that could stand for it: unset it, or choose a model self-hosted:NAME"
        )
    return settings.remote.model or settings.encoder.model
