"""What the server's answers mean: over real gRPC, against a server that says what a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as protocol
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.conversions.conversion import grpc_to_payload, payload_to_grpc
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from schemas.collection import ALIAS, PAYLOAD_INDEXES, Canary, Status, collection_name
from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.qdrant_errors import AWAY, translated
from stores.qdrant_making import Layout
from stores.qdrant_server import QdrantIndex
from stores.vectors import Fate, ForeignCollection, Where
from tests.unit.stores.index_points import AXIS, DIMENSION, ENCODER, METADATA, NOW, point

COLLECTION = collection_name("hashing")

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect in the local Qdrant", "ignore:Api key is used with an insecure connection"
)


class ScriptedServer:
    """Answers every method by its name; keeps requests and the keys they came with."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.keys: set[str | None] = set()
        self.refusals: dict[str, grpc.StatusCode] = {}
        self.version = "1.19.2"
        self.exists = True
        self.metadata: dict[str, Any] = METADATA.model_dump(mode="json")
        self.update_status = protocol.UpdateStatus.Completed
        self.port = 0

    def asked(self, method: str) -> list[Any]:
        return [request for name, request in self.requests if name == method]

    def answer(self, method: str, request: Any) -> Any:
        done = protocol.UpdateResult(status=self.update_status)
        if method == "HealthCheck":
            return protocol.HealthCheckReply(title="qdrant", version=self.version)
        if method == "CollectionExists":
            return protocol.CollectionExistsResponse(result=protocol.CollectionExists(exists=self.exists))
        if method == "Create":
            self.exists = True
        if method == "Get" and isinstance(request, protocol.GetCollectionInfoRequest):
            parameters = protocol.VectorParams(size=DIMENSION, distance=protocol.Distance.Cosine)
            config = protocol.CollectionConfig(
                params=protocol.CollectionParams(
                    shard_number=1, vectors_config=protocol.VectorsConfig(params=parameters)
                ),
                hnsw_config=protocol.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10000),
                optimizer_config=protocol.OptimizersConfigDiff(
                    deleted_threshold=0.2, vacuum_min_vector_number=1000, default_segment_number=0, flush_interval_sec=5
                ),
                wal_config=protocol.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
                metadata=payload_to_grpc(self.metadata),
            )
            green = protocol.OptimizerStatus(ok=True)
            return protocol.GetCollectionInfoResponse(
                result=protocol.CollectionInfo(
                    status=protocol.CollectionStatus.Green, optimizer_status=green, segments_count=1, config=config
                )
            )
        if method == "UpdateBatch":
            return protocol.UpdateBatchResponse(result=[done] * len(request.operations))
        if method in ("CreateFieldIndex", "Delete"):
            return protocol.PointsOperationResponse(result=done)
        if method == "ListAliases":
            return protocol.ListAliasesResponse()
        if method == "Update":
            self.metadata |= {name: grpc_to_payload({name: value})[name] for name, value in request.metadata.items()}
        if method in ("Create", "Update", "UpdateAliases"):
            return protocol.CollectionOperationResponse(result=True)
        return {
            "Scroll": protocol.ScrollResponse,
            "Query": protocol.QueryResponse,
            "Count": protocol.CountResponse,
            "Get": protocol.GetResponse,
        }[method]()


class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes every call of Qdrant's services to the scripted server."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        service, method = details.method.rsplit("/", 1)
        messages: dict[tuple[str, str], Any] = {
            ("Qdrant", "HealthCheck"): protocol.HealthCheckRequest,
            ("Collections", "CollectionExists"): protocol.CollectionExistsRequest,
            ("Collections", "Get"): protocol.GetCollectionInfoRequest,
            ("Collections", "Create"): protocol.CreateCollection,
            ("Collections", "Update"): protocol.UpdateCollection,
            ("Collections", "ListAliases"): protocol.ListAliasesRequest,
            ("Collections", "UpdateAliases"): protocol.ChangeAliases,
            ("Points", "UpdateBatch"): protocol.UpdateBatchPoints,
            ("Points", "CreateFieldIndex"): protocol.CreateFieldIndexCollection,
            ("Points", "Delete"): protocol.DeletePoints,
            ("Points", "Scroll"): protocol.ScrollPoints,
            ("Points", "Query"): protocol.QueryPoints,
            ("Points", "Count"): protocol.CountPoints,
            ("Points", "Get"): protocol.GetPoints,
        }

        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            self.server.keys.add(dict(context.invocation_metadata()).get("api-key"))
            self.server.requests.append((method, request))
            if method in self.server.refusals:
                await context.abort(self.server.refusals[method], "as the test says")
            return self.server.answer(method, request)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=messages[service.rpartition(".")[2], method].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    running = grpc.aio.server()
    running.add_generic_rpc_handlers([Handler(scripted)])
    scripted.port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    yield scripted
    await running.stop(grace=None)


def index_on(server: ScriptedServer, *, url: str = "http://127.0.0.1:1", **settings: Any) -> QdrantIndex:
    return QdrantIndex(COLLECTION, url=url, grpc_port=server.port, timeout=5, **settings)


@asynccontextmanager
async def cluster(nodes: int) -> AsyncIterator[str]:
    """The URL of a server that says over REST that it is one of so many nodes; of none: that it is no cluster."""
    status: dict[str, Any] = {"status": "disabled"}
    if nodes:
        raft = {"term": 1, "commit": 9, "pending_operations": 0, "leader": 1, "role": "Leader", "is_voter": True}
        status = {
            "status": "enabled",
            "peer_id": 1,
            "peers": {str(1 + node): {"uri": f"http://qdrant-{node}.qdrant-headless:6335/"} for node in range(nodes)},
            "raft_info": raft,
            "consensus_thread_status": {"consensus_thread_status": "working", "last_update": "2026-11-28T15:00:00Z"},
            "message_send_failures": {},
        }
    body = json.dumps({"result": status, "status": "ok", "time": 0.001}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"GET /cluster ")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield "http://{}:{}".format(*listening.sockets[0].getsockname())


class TestStarting:
    @pytest.mark.parametrize("version", ["1.18.9", "1.9.0", "0.11.0", "", "unknown"])
    async def test_an_old_server_is_refused_with_a_sentence(self, server: ScriptedServer, version: str) -> None:
        server.version = version
        with pytest.raises(ConfigurationError, match=r"needs 1\.19 or newer.*Upgrade the server"):
            await index_on(server).__aenter__()

    @pytest.mark.parametrize("version", ["1.19.0", "1.19.1-dev", "v1.20.0", "2.0.0"])
    async def test_a_new_one_is_not(self, server: ScriptedServer, version: str) -> None:
        server.version = version
        async with index_on(server) as index:
            assert await index.metadata() == METADATA

    async def test_the_key_travels_with_every_request(self, server: ScriptedServer) -> None:
        async with index_on(server, api_key="secret") as index:
            await index.count(Where())
        assert server.keys == {"secret"}

    @pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
    async def test_a_refused_key_stops_the_start_and_later_only_waits(
        self, server: ScriptedServer, code: grpc.StatusCode
    ) -> None:
        server.refusals["CollectionExists"] = code
        with pytest.raises(ConfigurationError, match="SIGHTLINE_QDRANT__API_KEY"):
            await index_on(server, api_key="wrong").__aenter__()
        server.refusals = {"Count": code}
        async with index_on(server, api_key="changed") as index:
            with pytest.raises(DependencyUnavailable, match="SIGHTLINE_QDRANT__API_KEY"):
                await index.count(Where())

    async def test_nobody_listening_is_an_outage(self) -> None:
        with pytest.raises(DependencyUnavailable, match="gRPC port") as away:
            await QdrantIndex(COLLECTION, url="http://127.0.0.1:1", grpc_port=1, timeout=2).__aenter__()
        assert away.value.dependency == "qdrant"

    async def test_the_index_is_closed_outside_its_block(self, server: ScriptedServer) -> None:
        async with index_on(server) as index:
            pass
        with pytest.raises(RuntimeError, match="inside `async with`"):
            await index.count(Where())


class TestWriting:
    async def test_every_point_has_its_own_condition_and_one_request_carries_them(self, server: ScriptedServer) -> None:
        async with index_on(server) as index:
            await index.write([point("a.jpg", 5), point("b.jpg", 7, status=Status.GONE), point("a.jpg", 4)])
        [request] = server.asked("UpdateBatch")
        assert (request.collection_name, request.wait) == (COLLECTION, True)
        assert request.ordering.type == protocol.WriteOrderingType.Strong
        for operation, version in zip(request.operations, [5, 7], strict=True):
            [written] = operation.upsert.points
            assert written.payload["version"].integer_value == version
            at_most, absent = operation.upsert.update_filter.should
            assert at_most.field.range.lte == version
            assert absent.is_empty.key == "version"
        assert not request.operations[1].upsert.points[0].vectors.vectors.vectors

    @pytest.mark.parametrize("status", [protocol.UpdateStatus.Acknowledged, protocol.UpdateStatus.WaitTimeout])
    async def test_what_is_only_acknowledged_is_not_written(self, server: ScriptedServer, status: Any) -> None:
        server.update_status = status
        async with index_on(server) as index:
            with pytest.raises(DependencyUnavailable, match=r"completed not all of them \((acknowledged|wait_timeout)"):
                await index.write([point("a.jpg")])
            with pytest.raises(DependencyUnavailable, match="completed not all"):
                await index.sweep_gone(before_version=1)

    async def test_a_long_list_goes_in_parts(self, server: ScriptedServer) -> None:
        async with index_on(server) as index:
            await index.write([point(f"{n}.jpg") for n in range(300)])
        assert [len(request.operations) for request in server.asked("UpdateBatch")] == [128, 128, 44]


class TestOutages:
    @pytest.mark.parametrize("code", sorted(AWAY, key=str), ids=str)
    async def test_away_is_to_be_tried_again(self, server: ScriptedServer, code: grpc.StatusCode) -> None:
        server.refusals = dict.fromkeys(["UpdateBatch", "Query", "Scroll", "Get", "Count", "Delete"], code)
        async with index_on(server) as index:
            index._metadata = METADATA
            calls: list[Callable[[], Any]] = [
                lambda: index.write([point("a.jpg")]),
                lambda: index.search(AXIS, limit=1),
                lambda: index.get([point("a.jpg").id]),
                lambda: index.scroll(Where(), limit=1),
                lambda: index.count(Where()),
                lambda: index.highest_version("folder", "photos"),
                lambda: index.sweep_gone(before_version=1),
            ]
            for call in calls:
                with pytest.raises(DependencyUnavailable, match="could not answer"):
                    await call()

    @pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND])
    async def test_a_request_that_can_never_work_is_a_bug(self, server: ScriptedServer, code: grpc.StatusCode) -> None:
        server.refusals["UpdateBatch"] = code
        async with index_on(server) as index:
            with pytest.raises(grpc.aio.AioRpcError):
                await index.write([point("a.jpg")])

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 507])
    def test_statuses_of_http_that_pass(self, status: int) -> None:
        with pytest.raises(DependencyUnavailable, match=str(status)), translated("here"):
            raise UnexpectedResponse(status, "", b"busy", httpx.Headers())

    @pytest.mark.parametrize("status", [400, 404, 409, 422])
    def test_statuses_of_http_that_do_not(self, status: int) -> None:
        with pytest.raises(UnexpectedResponse), translated("here"):
            raise UnexpectedResponse(status, "", b"wrong", httpx.Headers())

    @pytest.mark.parametrize("status", [401, 403])
    def test_refused_keys_over_http(self, status: int) -> None:
        refusal = UnexpectedResponse(status, "", b"no", httpx.Headers())
        with pytest.raises(ConfigurationError), translated("here", starting=True):
            raise refusal
        with pytest.raises(DependencyUnavailable), translated("here"):
            raise refusal

    @pytest.mark.parametrize(
        "error",
        [
            ResponseHandlingException(httpx.ConnectError("refused")),
            ResourceExhaustedResponse("slow down", 3),
            ConnectionResetError("reset"),
            TimeoutError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_broken_connections(self, error: Exception) -> None:
        with pytest.raises(DependencyUnavailable), translated("here"):
            raise error


class TestCollection:
    async def test_it_is_made_with_metadata_indexes_and_alias(self, server: ScriptedServer) -> None:
        server.exists = False
        async with index_on(server) as index:
            assert await index.ensure(METADATA) == METADATA
        [made] = server.asked("Create")
        assert made.vectors_config.params.size == DIMENSION
        assert made.vectors_config.params.distance == protocol.Distance.Cosine
        assert made.metadata["encoder"].struct_value.fields["fingerprint"].string_value == ENCODER.fingerprint
        assert {request.field_name for request in server.asked("CreateFieldIndex")} == set(PAYLOAD_INDEXES)
        [prefix] = [request for request in server.asked("CreateFieldIndex") if request.field_name == "key"]
        assert prefix.field_index_params.keyword_index_params.HasField("prefix")
        [aliases] = server.asked("UpdateAliases")
        assert aliases.actions[0].create_alias.alias_name == ALIAS

    async def test_it_is_laid_out_as_the_settings_say(self, server: ScriptedServer) -> None:
        server.exists = False
        async with cluster(2) as url, index_on(server, url=url, layout=Layout(6, 2)) as index:
            await index.ensure(METADATA)
        [made] = server.asked("Create")
        assert (made.shard_number, made.replication_factor) == (6, 2)

    async def test_without_settings_the_server_lays_it_out_and_is_not_asked_for_its_nodes(
        self, server: ScriptedServer
    ) -> None:
        server.exists = False
        async with index_on(server) as index:
            await index.ensure(METADATA)
        [made] = server.asked("Create")
        assert not made.HasField("shard_number")
        assert not made.HasField("replication_factor")

    @pytest.mark.parametrize(
        ("nodes", "error", "says"),
        [
            (1, DependencyUnavailable, "has 1 of the 2 nodes that SIGHTLINE_QDRANT__REPLICATION_FACTOR asks for"),
            (0, ConfigurationError, "is no cluster, and SIGHTLINE_QDRANT__REPLICATION_FACTOR asks for 2 copies"),
        ],
    )
    async def test_it_is_not_made_while_there_are_fewer_nodes_than_copies(
        self, server: ScriptedServer, nodes: int, error: type[Exception], says: str
    ) -> None:
        server.exists = False
        async with cluster(nodes) as url, index_on(server, url=url, layout=Layout(6, 2)) as index:
            with pytest.raises(error, match=says):
                await index.ensure(METADATA)
        assert not server.asked("Create")

    async def test_one_that_exists_keeps_its_copies_and_asks_for_no_nodes(self, server: ScriptedServer) -> None:
        async with index_on(server, layout=Layout(6, 2)) as index:
            assert await index.ensure(METADATA) == METADATA

    async def test_a_canary_is_sent_alone_and_what_is_stored_then_is_read_back(self, server: ScriptedServer) -> None:
        canary = Canary(vectors={"photo": AXIS.tobytes()}, made_with={}, matched_with={"torch": "2"}, matched_at=NOW)
        async with index_on(server) as index:
            await index.ensure(METADATA)
            assert await index.keep_canary(canary) == METADATA.model_copy(update={"canary": canary})
        [update] = server.asked("Update")
        assert list(update.metadata) == ["canary"], "who updates everything may undo what another changed"

    @pytest.mark.parametrize("code", [grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.INVALID_ARGUMENT])
    async def test_losing_the_race_to_make_it_is_no_loss(self, server: ScriptedServer, code: grpc.StatusCode) -> None:
        server.exists = False
        server.refusals["Create"] = code
        original = server.answer

        def made_by_another(method: str, request: Any) -> Any:
            answer = original(method, request)
            if method == "CollectionExists" and len(server.asked("CollectionExists")) >= 2:
                server.exists = True
            return answer

        server.answer = made_by_another  # type: ignore[method-assign]
        async with index_on(server) as index:
            assert await index.ensure(METADATA) == METADATA
        assert len(server.asked("Create")) == 1

    async def test_a_collection_that_is_none_of_ours_is_refused(self, server: ScriptedServer) -> None:
        server.metadata = {}
        async with index_on(server) as index:
            assert await index.metadata() is None
            with pytest.raises(ForeignCollection, match="was made for something else"):
                await index.ensure(METADATA)

    async def test_the_alias_stays_where_it_points(self) -> None:
        client = AsyncQdrantClient(":memory:")
        for name in ("images__first", "images__second"):
            async with QdrantIndex(name, client=client) as index:
                await index.ensure(METADATA)
        [alias] = (await client.get_aliases()).aliases
        assert (alias.alias_name, alias.collection_name) == (ALIAS, "images__first")
        await client.close()

    async def test_a_collection_in_the_place_of_the_alias_has_its_sentence(self) -> None:
        client = AsyncQdrantClient(":memory:")
        vectors = models.VectorParams(size=4, distance=models.Distance.COSINE)
        await client.create_collection(ALIAS, vectors_config=vectors)
        async with QdrantIndex(COLLECTION, client=client) as index:
            with pytest.raises(ConfigurationError, match="a collection called images"):
                await index.ensure(METADATA)
        await client.close()


async def test_a_point_without_a_version_is_not_frozen() -> None:
    client = AsyncQdrantClient(":memory:")
    async with QdrantIndex(COLLECTION, client=client) as index:
        await index.ensure(METADATA)
        written = point("a.jpg", 3)
        await client.upsert(COLLECTION, [models.PointStruct(id=str(written.id), vector=AXIS.tolist(), payload={})])
        await index.write([written])
        assert [one.payload.version for one in await index.get([written.id])] == [3]
    await client.close()


async def test_a_writer_that_is_overtaken_between_its_read_and_its_write_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = AsyncQdrantClient(":memory:")
    async with QdrantIndex(COLLECTION, client=client) as index:
        await index.ensure(METADATA)
        complete = client.batch_update_points

        async def overtaken(*arguments: Any, **options: Any) -> Any:
            monkeypatch.undo()
            await index.write([point("a.jpg", 9)])
            return await complete(*arguments, **options)

        monkeypatch.setattr(client, "batch_update_points", overtaken)
        assert list(await index.write([point("a.jpg", 3), point("b.jpg", 3)])) == [Fate.STALE, Fate.CHANGED]
    await client.close()


async def test_of_many_points_with_one_score_only_those_of_the_answer_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    client = AsyncQdrantClient(":memory:")
    asked: list[tuple[int, bool]] = []
    query_points = client.query_points

    async def counted(*arguments: Any, **more: Any) -> Any:
        asked.append((more["limit"], more["with_payload"]))
        return await query_points(*arguments, **more)

    monkeypatch.setattr(client, "query_points", counted)
    async with QdrantIndex("images__m", client=client) as index:
        await index.ensure(METADATA)
        points = [point(f"{n}.jpg", vector=AXIS) for n in range(200)]
        await index.write(points)
        hits = await index.search(AXIS, limit=10, with_vectors=True)
        assert [hit.id for hit in hits] == sorted(one.id for one in points)[:10]
        assert all(hit.vector is not None and hit.payload.key for hit in hits)
        assert asked == [(11, True), (44, False), (176, False), (704, False)]
    await client.close()
