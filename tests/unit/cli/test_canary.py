"""An encoder whose identity is the collection's, and whose vectors may not be."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from qdrant_client import AsyncQdrantClient

import encoders.canary
from cli.canary import CanaryCheck, VectorsMoved
from cli.indexes import make_index
from cli.parts import Parts
from encoders.canary import GOLDEN, GOLDEN_IMAGES, GOLDEN_TEXTS
from encoders.encoder import Encoder, Modality, TakesNoWords
from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from runtime.settings import load_settings
from schemas.collection import Canary, CollectionMetadata, Status
from schemas.events import EncoderIdentity
from stores.edge import EdgeIndex
from stores.qdrant_server import QdrantIndex
from stores.vectors import ForeignCollection, Point, VectorIndex, Where
from tests.unit.cli.stand_ins import StandIn
from tests.unit.stores.index_points import point

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

Start = Callable[..., Awaitable[CanaryCheck]]


@pytest.fixture(params=["edge", "server"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    """An open index with no collection."""
    async with AsyncExitStack() as stack:
        if request.param == "edge":
            yield await stack.enter_async_context(EdgeIndex(tmp_path / "index", "images__hashing"))
            return
        client = AsyncQdrantClient(":memory:")
        stack.push_async_callback(client.close)
        yield await stack.enter_async_context(QdrantIndex("images__hashing", client=client))


@pytest.fixture
async def start(index: VectorIndex, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a process, as far as the canary goes: an encoder in an engine, and a first look."""
    async with AsyncExitStack() as stack:

        async def started(encoder: Encoder, *, writes: bool = True) -> CanaryCheck:
            engine = await stack.enter_async_context(EncoderEngine(encoder, batch_size=4, decode_threads=1))
            check = CanaryCheck(index, engine, parts(tmp_path), writes=writes)
            await check.start()
            return check

        yield started


def parts(folder: Path, *, url: str = "") -> Parts:
    return Parts.make(load_settings({}, data_dir=folder, qdrant__url=url or None, encoder__model="hashing"))


async def kept(index: VectorIndex) -> Canary:
    stored = await index.metadata()
    assert stored is not None
    assert stored.canary is not None
    return stored.canary


def cosine(check: CanaryCheck, golden: str) -> float:
    [metric] = check._cosine.collect()
    return next(sample.value for sample in metric.samples if sample.labels["golden"] == golden)


class TestWriter:
    async def test_the_first_one_leaves_its_vectors_and_the_next_one_is_measured_by_them(
        self, index: VectorIndex, start: Start
    ) -> None:
        await start(StandIn())
        canary = await kept(index)
        assert list(canary.vectors) == list(GOLDEN)
        assert {"sightline", "numpy", "PIL", "device", "processor"} <= set(canary.made_with)
        again = await start(StandIn())
        assert [cosine(again, name) for name in GOLDEN] == pytest.approx([1.0] * 4, abs=1e-6)
        assert await kept(index) == canary, "nothing to note, nothing written"

    @pytest.mark.parametrize(
        ("dtype", "good", "bad"),
        [("float32", 0.99993, 0.99985), ("float16", 0.9996, 0.9994), ("bfloat16", 0.9993, 0.9985)],
    )
    async def test_it_is_stopped_when_its_vectors_moved_by_more_than_its_numbers_explain(
        self, index: VectorIndex, start: Start, dtype: str, good: float, bad: float
    ) -> None:
        await start(StandIn(dtype=dtype))
        canary = await kept(index)
        await start(StandIn(good, dtype=dtype))
        with pytest.raises(VectorsMoved):
            await start(StandIn(bad, dtype=dtype))
        assert (await kept(index)).vectors == canary.vectors, "what is compared with never moves"

    async def test_vectors_that_creep_from_release_to_release_are_measured_by_the_first_ones(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await start(StandIn())
        monkeypatch.setattr("cli.canary.made_with", lambda encoder: {"torch": "98"})
        await start(StandIn(0.99993))
        monkeypatch.setattr("cli.canary.made_with", lambda encoder: {"torch": "99"})
        with pytest.raises(VectorsMoved):
            await start(StandIn(0.99988))

    async def test_the_sentence_says_which_how_far_since_when_and_what_to_do(
        self, index: VectorIndex, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as then:
            then.setattr("cli.canary.made_with", lambda encoder: {"torch": "2.8.0", "PIL": "12.3.0"})
            await start(StandIn())
        monkeypatch.setattr("cli.canary.made_with", lambda encoder: {"torch": "2.9.0", "PIL": "12.3.0"})
        with pytest.raises(VectorsMoved) as refused:
            await start(StandIn(0.998))
        said = str(refused.value)
        assert f"{tmp_path / 'index' / 'images__hashing'}" in said
        assert said.startswith("hashing no longer makes")
        assert "0.998000" in said
        assert "0.9999 is needed" in said
        assert "the same with torch 2.8.0; now this process has torch 2.9.0" in said
        assert "PIL" not in said, "what did not change is no cause"
        assert "Nothing was written" in said
        assert "go back to those versions" in said
        assert "move that folder away" in said
        before = await kept(index)
        assert before.matched_with["torch"] == "2.8.0"

    async def test_the_sentence_names_the_server_and_what_else_may_be_at_fault(
        self, index: VectorIndex, start: Start, tmp_path: Path
    ) -> None:
        await start(StandIn())
        async with EncoderEngine(StandIn(0.5)) as engine:
            check = CanaryCheck(index, engine, parts(tmp_path, url="http://qdrant:6333"), writes=True)
            with pytest.raises(
                VectorsMoved,
                match=r"images__hashing of the Qdrant server at http://qdrant:6333.*so the weights.*bring the weights "
                r"back.*delete that collection.*sightline reconcile",
            ):
                await check.start()

    async def test_other_libraries_that_make_the_same_vectors_are_noted(
        self, index: VectorIndex, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await start(StandIn())
        first = await kept(index)
        monkeypatch.setattr("cli.canary.made_with", lambda encoder: {"torch": "99"})
        await start(StandIn())
        second = await kept(index)
        assert second.matched_with["torch"] == "99"
        assert second.matched_at > first.matched_at
        assert (second.made_with, second.vectors) == (first.made_with, first.vectors)

    async def test_a_collection_of_an_older_release_gets_a_canary_and_keeps_its_points(
        self, index: VectorIndex, start: Start
    ) -> None:
        made = CollectionMetadata(encoder=StandIn().identity, created_at=datetime(2026, 1, 2, tzinfo=UTC))
        await index.ensure(made)
        old = point("a.jpg")
        await index.write([Point(old.id, old.payload, np.eye(256, dtype=np.float32)[0])])
        await start(StandIn())
        stored = await index.metadata()
        assert stored == made.model_copy(update={"canary": await kept(index)})
        assert await index.count(Where(status=Status.INDEXED)) == 1
        with pytest.raises(VectorsMoved):
            await start(StandIn(0.9))

    async def test_the_same_weights_in_another_number_type_are_another_encoder(self, start: Start) -> None:
        await start(StandIn())
        with pytest.raises(ForeignCollection):
            await start(StandIn(dtype="bfloat16"))

    async def test_words_are_absent_where_they_cannot_be_embedded_and_added_where_they_can(
        self, index: VectorIndex, start: Start
    ) -> None:
        await start(StandIn(has_words=False))
        assert list((await kept(index)).vectors) == list(GOLDEN_IMAGES)
        await start(StandIn())
        assert list((await kept(index)).vectors) == list(GOLDEN)
        await start(StandIn(has_words=False))
        assert list((await kept(index)).vectors) == list(GOLDEN), "nobody takes them away again"

    async def test_an_encoder_of_words_alone_is_shown_no_picture(self, index: VectorIndex, start: Start) -> None:
        await start(StandIn(modality=Modality.WORDS))
        assert list((await kept(index)).vectors) == list(GOLDEN_TEXTS)
        with pytest.raises(VectorsMoved, match=r"golden (foreign )?words"):
            await start(StandIn(0.9, modality=Modality.WORDS))

    async def test_a_vector_of_nonsense_is_no_match(self, start: Start) -> None:
        await start(StandIn())
        with pytest.raises(VectorsMoved, match=r"0\.000000"):
            await start(StandIn(float("nan")))


class TestReader:
    async def test_it_makes_nothing(self, index: VectorIndex, start: Start) -> None:
        await start(StandIn(), writes=False)
        assert await index.metadata() is None
        await index.ensure(CollectionMetadata(encoder=StandIn().identity, created_at=datetime.now(UTC)))
        await start(StandIn(), writes=False)
        stored = await index.metadata()
        assert stored is not None
        assert stored.canary is None

    async def test_it_may_run_in_another_number_type(
        self, index: VectorIndex, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        await start(StandIn(dtype="bfloat16"))
        canary = await kept(index)
        await start(StandIn(0.9995), writes=False)
        assert "vectors_moved" not in [getattr(one, "action", "") for one in caplog.records]
        await start(StandIn(0.995), writes=False)
        assert "vectors_moved" in [getattr(one, "action", "") for one in caplog.records]
        with pytest.raises(VectorsMoved, match=r"0\.98.*0\.99 is needed.*Searches miss"):
            await start(StandIn(0.98), writes=False)
        assert await kept(index) == canary

    async def test_another_model_is_refused(self, start: Start) -> None:
        await start(StandIn())
        with pytest.raises(ForeignCollection):
            await start(StandIn(weights="other"), writes=False)


class Remote(StandIn):
    """Asks somebody else's model, and may be known as another."""

    def stand_for(self, identity: EncoderIdentity) -> None:
        self.identity = identity


class TestStandingForAModel:
    @pytest.fixture
    async def stand_for(
        self, index: VectorIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[Remote], Awaitable[None]]:
        monkeypatch.setattr("cli.canary.RemoteEncoder", Remote)
        settings = load_settings(
            {},
            data_dir=tmp_path,
            encoder__model="self-hosted:hashing",
            remote__url="http://encoder/embed",
            remote__model="hashing",
        )

        async def standing(encoder: Remote) -> None:
            async with EncoderEngine(encoder, batch_size=4, decode_threads=1) as engine:
                await CanaryCheck(index, engine, Parts.make(settings), writes=False).start()

        return standing

    async def test_the_golden_vectors_say_that_it_is_the_model(
        self, start: Start, stand_for: Callable[[Remote], Awaitable[None]]
    ) -> None:
        await start(StandIn())
        encoder = Remote(weights="elsewhere", dtype="remote")
        await stand_for(encoder)
        assert encoder.identity == StandIn().identity

    async def test_where_there_is_nothing_to_compare_it_stands_for_none(
        self, index: VectorIndex, start: Start, stand_for: Callable[[Remote], Awaitable[None]]
    ) -> None:
        await start(StandIn(has_words=False))
        canary = await kept(index)
        await index.keep_canary(canary.model_copy(update={"vectors": {"sunset": canary.vectors["photo"]}}))
        encoder = Remote(weights="elsewhere", dtype="remote")
        with pytest.raises(ForeignCollection, match=r"golden inputs sunset, and this process embeds none.*embedder"):
            await stand_for(encoder)
        assert encoder.identity != StandIn().identity

    async def test_words_are_compared_where_the_collection_has_them(
        self, start: Start, stand_for: Callable[[Remote], Awaitable[None]]
    ) -> None:
        await start(StandIn())
        encoder = Remote(weights="elsewhere", modality=Modality.IMAGES_AND_WORDS, device="remote", has_words=False)
        with pytest.raises(TakesNoWords):
            await stand_for(encoder)
        assert encoder.identity != StandIn().identity
        images = Remote(weights="elsewhere", modality=Modality.IMAGES, device="remote", has_words=False)
        await stand_for(images)
        assert images.identity == StandIn().identity

    async def test_a_collection_without_a_canary_is_said_to_have_none(
        self, index: VectorIndex, stand_for: Callable[[Remote], Awaitable[None]]
    ) -> None:
        await index.ensure(CollectionMetadata(encoder=StandIn().identity, created_at=datetime.now(UTC)))
        with pytest.raises(ForeignCollection, match=r"images__hashing keeps no vectors of golden inputs.*embedder"):
            await stand_for(Remote(weights="elsewhere", dtype="remote"))


class TestWhileRunning:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cli.canary.EVERY_SECONDS", 0.01)

    async def test_vectors_that_begin_to_move_end_the_process(self, start: Start) -> None:
        encoder = StandIn()
        check = await start(encoder)
        running = asyncio.create_task(check.run(asyncio.Event()))
        await seen(lambda: encoder.texts > 3 * len(GOLDEN_TEXTS))
        assert not running.done()
        encoder.cosine = 0.9
        with pytest.raises(VectorsMoved, match=r"What was indexed since .* is in doubt"):
            await asyncio.wait_for(running, 30)

    async def test_of_two_that_started_at_once_on_a_collection_without_one_the_one_that_differs_is_ended(
        self, index: VectorIndex, start: Start
    ) -> None:
        await index.ensure(CollectionMetadata(encoder=StandIn().identity, created_at=datetime.now(UTC)))

        async def process(cosine: float, stop: asyncio.Event) -> None:
            await (await start(StandIn(cosine))).run(stop)

        stop = asyncio.Event()
        running = [asyncio.create_task(process(one, stop)) for one in (1.0, 0.9)]
        ended, others = await asyncio.wait(running, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert [type(one.exception()) for one in ended] == [VectorsMoved]
        stop.set()
        await asyncio.gather(*others)

    async def test_it_ends_when_it_is_told_to(self, start: Start) -> None:
        check, stop = await start(StandIn()), asyncio.Event()
        running = asyncio.create_task(check.run(stop))
        stop.set()
        await asyncio.wait_for(running, 30)

    async def test_nobody_pays_for_more_than_the_first_look(self, start: Start) -> None:
        encoder, stop = StandIn(device="remote", dtype="remote"), asyncio.Event()
        check = await start(encoder)
        looked = encoder.texts
        running = asyncio.create_task(check.run(stop))
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.wait_for(running, 30)
        assert encoder.texts == looked


class TestWhatItSees:
    @pytest.mark.parametrize(
        ("step", "broken", "golden"),
        [
            ("imaging.decode.upright", lambda image, orientation: image, "photo"),
            ("imaging.decode.to_rgb", lambda image: image.convert("RGB"), "drawing"),
        ],
        ids=["orientation is ignored", "transparency is not put on white"],
    )
    async def test_a_picture_that_is_decoded_otherwise(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, step: str, broken: object, golden: str
    ) -> None:
        await start(make_encoder("hashing"))
        monkeypatch.setattr(step, broken)
        with pytest.raises(VectorsMoved, match=f"the golden {golden} has"):
            await start(make_encoder("hashing"))

    def test_the_golden_images_never_change(self) -> None:
        folder = Path(encoders.canary.__file__).parent / "golden"
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in folder.iterdir()}
        assert digests == {"photo.jpg": "06261fbc3b53729f", "drawing.png": "0d51977abe4b48a8"}, (
            "collections keep vectors of these very bytes; give another image another name"
        )
        with Image.open(folder / "photo.jpg") as photo:
            assert (photo.getexif()[0x0112], photo.info["progressive"]) == (6, 1)
        with Image.open(folder / "drawing.png") as drawing:
            assert drawing.mode == "RGBA"


async def test_collections_of_two_models_are_named_apart(tmp_path: Path) -> None:
    """The place that the sentence names is where `make_index` keeps it."""
    made = parts(tmp_path)
    async with make_index(made) as index:
        await index.ensure(
            CollectionMetadata(
                encoder=EncoderIdentity(model="hashing", fingerprint="a-b-c", dimension=4), created_at=datetime.now(UTC)
            )
        )
    assert [*(tmp_path / "index" / "images__hashing").rglob("collection.json")]


async def seen(true: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it was not seen within a minute")
