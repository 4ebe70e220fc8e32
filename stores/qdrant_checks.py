"""What a Qdrant server must be, and must have done."""

import re
from collections.abc import Sequence

from qdrant_client import AsyncQdrantClient, models

from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.qdrant_errors import CHECK_SERVER, DEPENDENCY

OLDEST_SERVER = (1, 19)
"""Before 1.19 a conditional write stood unresolved in the log, and its replay could pick other points (#9575)."""


def check_version(version: str, place: str) -> None:
    """Raise `ConfigurationError` for a server that is too old."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_SERVER:
        raise ConfigurationError(
            f"{place} is version {version or 'unknown'}; Sightline needs 1.19 or newer, since an older one "
            "may apply conditional writes wrongly after a crash. Upgrade the server"
        )


async def check_nodes(client: AsyncQdrantClient, copies: int, place: str) -> None:
    """See that there are nodes for so many copies of a shard before a collection is made: no server adds one later.

    Asked over REST, since gRPC has no such call, and only where more than one copy is wanted. Raises
    `DependencyUnavailable` while nodes are missing, and `ConfigurationError` for a server that is no cluster.
    """
    if copies <= 1:
        return
    cluster = await client.cluster_status()
    if not isinstance(cluster, models.ClusterStatusOneOf1):
        raise ConfigurationError(
            f"{place} is no cluster, and SIGHTLINE_QDRANT__REPLICATION_FACTOR asks for {copies} copies of each shard. "
            "Leave the setting out, or start the server with QDRANT__CLUSTER__ENABLED=true"
        )
    if len(cluster.peers) < copies:
        raise DependencyUnavailable(
            DEPENDENCY,
            f"{place} has {len(cluster.peers)} of the {copies} nodes that SIGHTLINE_QDRANT__REPLICATION_FACTOR asks "
            "for, and a collection that is made now would keep too few copies for ever",
            "See that the other nodes run and have joined the cluster",
        )


def check_completed(results: Sequence[models.UpdateResult], expected: int, place: str, collection: str) -> None:
    """Raise `DependencyUnavailable` unless each write was completed, not only acknowledged."""
    unfinished = sorted({str(result.status) for result in results} - {str(models.UpdateStatus.COMPLETED)})
    if unfinished or len(results) != expected:
        raise DependencyUnavailable(
            DEPENDENCY,
            f"{place} took {expected} writes to {collection} and completed not all of them "
            f"({', '.join(unfinished) or f'{len(results)} answers'})",
            f"They are written again. {CHECK_SERVER}",
        )
