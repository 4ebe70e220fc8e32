"""An open index of each kind: Qdrant Edge, the client code without a server, and a real server if there is one."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient

from stores.edge import EdgeIndex
from stores.qdrant_server import QdrantIndex
from stores.sharded_edge import ShardedEdge
from stores.vectors import VectorIndex
from tests.unit.stores.index_points import METADATA

SERVER = os.environ.get("QDRANT_URL")


def implementations() -> list[object]:
    server = [pytest.param("server", marks=pytest.mark.qdrant)] if SERVER else []
    return ["edge", "shards", "client", *server]


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Memory where there is enough: nobody pulls the plug here, and a busy disk takes seconds for every fsync."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2 * 1024**3:
        with TemporaryDirectory(dir=memory, prefix="sightline-test-") as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("edge")


@pytest.fixture(params=implementations())
async def bare(request: pytest.FixtureRequest, disk: Path) -> AsyncIterator[VectorIndex]:
    """An open index whose collection was never made."""
    collection = f"images__{uuid4().hex}"
    async with AsyncExitStack() as stack:
        if request.param == "edge":
            stack.callback(shutil.rmtree, disk / collection)
            yield await stack.enter_async_context(EdgeIndex(disk, collection))
            return
        if request.param == "shards":
            stack.callback(shutil.rmtree, disk / collection)
            yield await stack.enter_async_context(ShardedEdge(disk, collection, shards=2))
            return
        if request.param == "client":
            client = AsyncQdrantClient(":memory:")
            stack.push_async_callback(client.close)
            yield await stack.enter_async_context(QdrantIndex(collection, client=client))
            return
        port, api_key = int(os.environ.get("QDRANT_GRPC_PORT", "6334")), os.environ.get("QDRANT_API_KEY", "")
        client = AsyncQdrantClient(url=SERVER, api_key=api_key or None)
        stack.push_async_callback(client.close)
        index = QdrantIndex(collection, url=str(SERVER), api_key=api_key, grpc_port=port)
        yield await stack.enter_async_context(index)
        await client.delete_collection(collection)


@pytest.fixture
async def index(bare: VectorIndex) -> VectorIndex:
    """An open index with an empty collection."""
    await bare.ensure(METADATA)
    return bare
