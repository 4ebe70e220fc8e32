"""The first question to a new Edge process: open the collection, and say what it was made for."""

from datetime import UTC, datetime
from pathlib import Path

from schemas.collection import PAYLOAD_INDEXES, CollectionMetadata
from schemas.events import EncoderIdentity
from stores.edge_channel import EdgeChannel


async def open_collection(channel: EdgeChannel, folder: Path, lock_wait: float) -> CollectionMetadata | None:
    """The metadata, made anew from the points where it was lost; None while there is no collection.

    Raises `ConfigurationError` when another process has it open after `lock_wait` seconds, or when it cannot be read.
    """
    found = await channel.ask(
        "open",
        patience=None,  # a start may wait for the lock, replay writes, reclaim space and bring an old index up to date
        folder=str(folder),
        indexes={name: kind.value for name, kind in PAYLOAD_INDEXES.items()},
        lock_wait=lock_wait,
    )
    if found["metadata"] is not None:
        return CollectionMetadata.model_validate_json(found["metadata"])
    if found["lost"] is None:
        return None
    metadata = CollectionMetadata(encoder=EncoderIdentity.model_validate(found["lost"]), created_at=datetime.now(UTC))
    await channel.ask("ensure", metadata=metadata.model_dump_json(), dimension=metadata.encoder.dimension)
    return metadata
