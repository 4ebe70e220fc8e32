"""The index that the settings name: a Qdrant server, or Qdrant Edge under the data folder."""

from cli.parts import Parts
from schemas.collection import collection_name
from stores.edge import EdgeIndex
from stores.qdrant_server import QdrantIndex
from stores.vectors import VectorIndex


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
