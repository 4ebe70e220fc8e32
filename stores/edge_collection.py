"""One collection of Qdrant Edge on disk: its lock, its metadata, its shard, and what can be asked of it.

    <folder>/<collection>/lock              held with flock while a process has the collection open
    <folder>/<collection>/collection.json   what it was made for, written before the shard takes its first point
    <folder>/<collection>/shard/            Qdrant Edge's own files
    <folder>/<collection>/shard.new/        a shard being made; whatever a crash leaves here was never used

The lock is ours: Edge takes its own only after touching the files, and a second opener then leaves the first
one unable to flush ("tracker journal is shorter than expected", qdrant-edge-py 0.9.0).

No HNSW graph is built. Measured on two cores, 512 dimensions: with graphs a search over 100,000 points takes 4 ms, but
`optimize()` stops the process for 1 to 2 s for every 2,000 points that arrive, and for 255 s on a tail of 100,000; a
scan of the codes of one plain segment (see `stores.edge_config`) takes as long as the graphs. It is called at the start
only, where it does nothing unless a fifth of the points are deleted, and then gives their space back (16 s for 75,000
that remain), or an earlier release wrote the segment without codes (2 s for 100,000).
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from stores import edge_queries
from stores.edge_config import dimension_of, shard_config
from stores.edge_conversion import PAYLOAD, conditional_upsert, id_bytes, record_on_wire, swept
from stores.edge_filters import edge_filter
from stores.edge_lock import CannotOpen, take_lock
from stores.edge_tags import Looks, TagNames, set_tags, vectors_from
from stores.edge_upgrade import make_indexes, upgrade

MAX_UNFLUSHED = 50_000
"""Points in the write-ahead log before a flush even without a pause; replaying so many takes about 4 s."""


class EdgeCollection:
    """The collection in `folder`. Not thread-safe; every call holds the GIL while the engine works."""

    def __init__(self, folder: Path, indexes: dict[str, str]) -> None:
        self._folder = folder
        self._indexes = indexes
        self._lock: int | None = None
        self._shard: edge.EdgeShard | None = None
        self._metadata: str | None = None
        self._unflushed = 0
        self._names = TagNames()
        self._looks = Looks()

    def lock(self, wait: float, given_up: Callable[[], bool], owner: int) -> None:
        """Take the lock, see `stores.edge_lock`. Raises `CannotOpen`."""
        self._lock = take_lock(self._folder, wait, given_up, owner)

    def open(self) -> dict[str, Any]:
        """Load what is there, finishing or undoing what a crash interrupted. Raises `CannotOpen`.

        Answers `metadata` (its JSON, or None) and `lost`: where the points are there but their metadata is
        not, the model, fingerprint and dimension that the points themselves tell.
        """
        shutil.rmtree(self._folder / "shard.new", ignore_errors=True)
        self._metadata = self._read_metadata()
        if (self._folder / "shard").is_dir():
            try:
                self._shard = _loaded(self._folder / "shard")
                if self._shard.optimize():
                    # The flush removes the segment that was replaced.
                    self._shard.flush()
            except Exception as error:
                raise CannotOpen(
                    f"the index in {self._folder} cannot be read: {error}. Move that folder away and start again: "
                    "it is built anew from the bucket"
                ) from error
        elif self._metadata is not None:
            self._create(json.loads(self._metadata)["encoder"]["dimension"])
        if self._shard is not None:
            self._unflushed += make_indexes(self._shard, self._indexes) + upgrade(self._shard)
            self._flush_if_much()
        if self._shard is not None and self._metadata is None:
            return {"metadata": None, "lost": self._told_by_the_points()}
        return {"metadata": self._metadata, "lost": None}

    def ensure(self, metadata: str, dimension: int) -> None:
        """Make what is missing of metadata, shard and payload indexes."""
        if self._metadata is None and self._shard is not None and self._count({}) == 0:
            # A shard without metadata holds nothing that we wrote; its dimension may be another one.
            self._shard.close()
            self._shard = None
            shutil.rmtree(self._folder / "shard")
        if self._metadata is None:
            self._write_metadata(metadata)
        if self._shard is None:
            self._create(dimension)
        self._unflushed += make_indexes(self._opened(), self._indexes)

    def keep_metadata(self, metadata: str) -> None:
        """Write metadata of the same encoder over what is there."""
        self._write_metadata(metadata)

    def write(self, points: list[tuple[bytes, dict[str, Any], bytes | None]]) -> list[dict[str, Any] | None]:
        """Upsert each point unless a higher version of it is stored. The log survives kill -9 once this returns.

        Answers version, status and ETag of what was stored before under the id of each, None for nothing. Nothing else
        happens in this process in between, so they decide what was written. The ids must differ.
        """
        shard = self._opened()
        found = shard.retrieve([UUID(bytes=one) for one, _, _ in points], ["version", "status", "etag"], False)
        before = {id_bytes(record.id): dict(record.payload or {}) for record in found}
        self._looks.changed(one for one, _, _ in points)
        for one in points:
            shard.update(conditional_upsert(*one))
        self._unflushed += len(points)
        self._flush_if_much()
        return [before.get(one) for one, _, _ in points]

    def search(
        self, vector: bytes, limit: int, threshold: float | None, where: dict[str, Any], with_vectors: bool
    ) -> tuple[bytes, bytes, list[bytes]]:
        """What `rank` answers, and the points themselves."""
        if self._shard is None:
            return b"", b"", []
        return edge_queries.search(self._shard, vector, limit, threshold, where, with_vectors)

    def rank(self, vector: bytes, limit: int, threshold: float | None, where: dict[str, Any]) -> tuple[bytes, bytes]:
        """Ids and float32 scores of the nearest, best first, ties by id."""
        return edge_queries.rank(self._shard, vector, limit, threshold, where) if self._shard else (b"", b"")

    def facet(self, field: str, where: dict[str, Any], limit: int) -> tuple[list[str], bytes]:
        """The values of a field, most frequent first, and as uint32 how many points have each."""
        return edge_queries.facet(self._shard, self._names, field, where, limit) if self._shard else ([], b"")

    def ordered(self, field: str, where: dict[str, Any], descending: bool, limit: int) -> list[Any]:
        """Id, payload and vector of points that have the field, in the order of its values."""
        return edge_queries.ordered(self._shard, field, where, descending, limit) if self._shard else []

    def get(self, ids: list[bytes], with_vectors: bool) -> list[Any]:
        """Id, payload and vector of the points that exist."""
        if self._shard is None:
            return []
        records = self._shard.retrieve([UUID(bytes=one) for one in ids], PAYLOAD, with_vectors)
        return [record_on_wire(record) for record in records]

    def scroll(self, where: dict[str, Any], limit: int, start: bytes | None, with_vectors: bool) -> list[Any]:
        """Points from the id `start` on, in the order of ids, and the id at which the next page starts."""
        if self._shard is None:
            return [[], None]
        records, following = self._shard.scroll(
            edge.ScrollRequest(
                offset=UUID(bytes=start) if start else None,
                limit=limit,
                filter=edge_filter(where, self._shard),
                with_payload=PAYLOAD,
                with_vector=with_vectors,
            )
        )
        return [[record_on_wire(record) for record in records], id_bytes(following) if following else None]

    def scroll_vectors(self, where: dict[str, Any], limit: int, start: bytes | None) -> list[Any]:
        """Ids, versions and vectors from the id `start` on, and the id at which the next page starts."""
        return vectors_from(self._shard, self._looks, where, limit, start) if self._shard else [[], [], [], None]

    def set_tags(self, news: list[tuple[bytes, int, dict[str, Any]]]) -> None:
        """Set each payload on the point that is indexed and of the version given (see `stores.edge_tags`)."""
        self._unflushed += set_tags(self._opened(), self._looks, news)
        self._flush_if_much()

    def count(self, where: dict[str, Any]) -> int:
        """How many points match, exactly."""
        return self._count(where) if self._shard else 0

    def highest_version(self, where: dict[str, Any]) -> int:
        """The highest version among the points that match, or 0."""
        if self._shard is None:
            return 0
        order = edge.OrderBy("version", edge.Direction.Desc)
        condition = edge_filter(where, self._shard)
        request = edge.ScrollRequest(limit=1, filter=condition, with_payload=["version"], order_by=order)
        return max(
            (int(record.payload["version"]) for record in self._shard.scroll(request)[0] if record.payload), default=0
        )

    def sweep_gone(self, before_version: int, limit: int) -> bool:
        """Delete up to `limit` of the `gone` points of a lower version; answer whether there may be more.

        Nothing else happens in this process between finding them and deleting them.
        """
        if self._shard is None:
            return False
        found, following = self._shard.scroll(
            edge.ScrollRequest(limit=limit, filter=swept(before_version), with_payload=False)
        )
        if found:
            self._shard.update(edge.UpdateOperation.delete_points([record.id for record in found]))
            self._unflushed += len(found)
        return following is not None

    def facts(self) -> dict[str, int]:
        """Points of any status, and segments."""
        if self._shard is None:
            return {"points": 0, "segments": 0, "unflushed": 0}
        info = self._shard.info()
        return {"points": info.points_count, "segments": info.segments_count, "unflushed": self._unflushed}

    @property
    def unflushed(self) -> int:
        """Points that are in the log only."""
        return self._unflushed

    def flush(self) -> None:
        """Bring everything to the disk, so that a later start has little to replay."""
        self._opened().flush()
        self._unflushed = 0

    def close(self) -> None:
        """Flush, close, and let go of the lock."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _opened(self) -> edge.EdgeShard:
        if self._shard is None:
            raise RuntimeError("the collection does not exist yet; ensure it first")
        return self._shard

    def _flush_if_much(self) -> None:
        if self._unflushed >= MAX_UNFLUSHED:
            self.flush()

    def _count(self, where: dict[str, Any]) -> int:
        shard = self._opened()
        return shard.count(edge.CountRequest(exact=True, filter=edge_filter(where, shard)))

    def _create(self, dimension: int) -> None:
        making, final = self._folder / "shard.new", self._folder / "shard"
        making.mkdir()
        shard = edge.EdgeShard.create(str(making), shard_config(dimension))
        make_indexes(shard, self._indexes)
        shard.close()
        making.rename(final)
        _sync(self._folder)
        self._shard = _loaded(final)

    def _read_metadata(self) -> str | None:
        try:
            text = (self._folder / "collection.json").read_text("utf-8")
            json.loads(text)["encoder"]["dimension"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return text

    def _write_metadata(self, metadata: str) -> None:
        written = self._folder / "collection.json.new"
        with written.open("w", encoding="utf-8") as file:
            file.write(metadata)
            file.flush()
            os.fsync(file.fileno())
        written.replace(self._folder / "collection.json")
        _sync(self._folder)
        self._metadata = metadata

    def _told_by_the_points(self) -> dict[str, Any] | None:
        records, _ = self._opened().scroll(edge.ScrollRequest(limit=1, with_payload=["model", "fingerprint"]))
        if not records or not records[0].payload:
            return None
        return {**records[0].payload, "dimension": dimension_of(self._folder / "shard")}


def _loaded(folder: Path) -> edge.EdgeShard:
    """The shard in the layout of this release, whichever wrote it: `optimize` brings its segments up to that."""
    try:
        dimension = dimension_of(folder)
    except (OSError, ValueError, LookupError, TypeError):
        # Without a readable layout of its own, Edge takes that of its segments.
        return edge.EdgeShard.load(str(folder))
    return edge.EdgeShard.load(str(folder), shard_config(dimension))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
