"""Making what is missing on a Qdrant server: the collection, its payload indexes and the readers' alias.

Two processes may do each at once: whoever comes second finds it made.
"""

from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient, models

from schemas.collection import ALIAS, PAYLOAD_INDEXES, CollectionMetadata
from schemas.errors import ConfigurationError
from stores.qdrant_conversion import INDEX_SCHEMAS


@dataclass(frozen=True)
class Layout:
    """How a collection lies on the nodes of a cluster: shards, and copies of each; 0 leaves that to the server."""

    shard_number: int = 0
    replication_factor: int = 0


async def create_collection(
    client: AsyncQdrantClient, collection: str, metadata: CollectionMetadata, layout: Layout = Layout()
) -> None:
    """Make the collection with its metadata in one request, unless another process was quicker."""
    try:
        await client.create_collection(
            collection,
            vectors_config=models.VectorParams(size=metadata.encoder.dimension, distance=models.Distance.COSINE),
            metadata=metadata.model_dump(mode="json", exclude_none=True),
            shard_number=layout.shard_number or None,
            replication_factor=layout.replication_factor or None,
        )
    except Exception:
        # Another process was quicker, whatever words the server found for it.
        if not await client.collection_exists(collection):
            raise


async def make_payload_indexes(client: AsyncQdrantClient, collection: str) -> None:
    """Make the payload indexes that are missing, as those are that a newer release added."""
    existing = (await client.get_collection(collection)).payload_schema
    for name, kind in PAYLOAD_INDEXES.items():
        if name not in existing:
            await client.create_payload_index(collection, name, field_schema=INDEX_SCHEMAS[kind], wait=True)


async def point_the_alias(client: AsyncQdrantClient, collection: str, place: str) -> None:
    """Point the alias here unless it points somewhere already.

    Raises `ConfigurationError` when a collection has its name; `place` says which server that is.
    """
    if await _aliased(client):
        return
    create = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=ALIAS))
    try:
        await client.update_collection_aliases([create])
    except Exception as error:
        if await _aliased(client):
            return
        names = [one.name for one in (await client.get_collections()).collections]
        if ALIAS in names:
            raise ConfigurationError(
                f"{place} has a collection called {ALIAS}, which Sightline needs as the alias that readers "
                f"use. Rename that collection, or use another server"
            ) from error
        raise


async def _aliased(client: AsyncQdrantClient) -> bool:
    return any(alias.alias_name == ALIAS for alias in (await client.get_aliases()).aliases)
