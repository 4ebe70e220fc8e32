"""`GET /v1/images/{id}/timeline` and `/v1/explain`: the steps with their times, what holds now, and a conclusion."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.intake_rules import SettingsRules
from runtime.dead_letters import FileDeadLetters
from runtime.settings import load_settings
from schemas.collection import Journey, Status
from schemas.dead_letter import DeadLetter, Origin, RejectReason
from schemas.events import point_id
from services.search.one_image.circumstances import Verdict
from services.search.one_image.parts import OneImage
from stores.qdrant_server import QdrantIndex
from stores.vectors import Point, VectorIndex
from tests.unit.search.conftest import client_of, image_point
from tests.unit.search.fakes import FakeEngine, FakeModel, identity
from tests.unit.search.one_image_parts import Gallery, make_gallery, picture

JOURNEY = Journey(
    origin="folder",
    event_time=datetime(2024, 6, 1, 11, 59, 57, tzinfo=UTC),
    received_at=datetime(2024, 6, 1, 11, 59, 58, tzinfo=UTC),
    looked_at=datetime(2024, 6, 1, 11, 59, 59, tzinfo=UTC),
    judged_at=datetime(2024, 6, 1, 11, 59, 59, 500_000, tzinfo=UTC),
)
BROKEN = {"status": Status.REJECTED, "reason": RejectReason.DECODE_FAILED, "detail": "it ends early", "release": "0.1"}


@pytest.fixture
async def gallery(tmp_path: Path, index: VectorIndex) -> AsyncIterator[Gallery]:
    made = make_gallery(tmp_path / "pictures", tmp_path / "cache", index)
    async with made.store:
        yield made


@pytest.fixture
async def client(gallery: Gallery, engine: FakeEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(gallery.app(engine)) as client:
        yield client


async def timeline(client: httpx.AsyncClient, point: Point) -> dict[str, Any]:
    answer = await client.get(f"/v1/images/{point.id}/timeline")
    assert answer.status_code == 200, answer.text
    by_key = await client.get("/v1/explain", params={"key": point.payload.key, "bucket": point.payload.bucket})
    seen, again = answer.json(), by_key.json()
    assert seen["now"].pop("checked_at") <= again["now"].pop("checked_at")
    assert seen == again
    return dict(seen)


async def explained(client: httpx.AsyncClient, key: str, **more: str) -> dict[str, Any]:
    answer = await client.get("/v1/explain", params={"key": key} | more)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_an_indexed_image_tells_its_way_step_by_step(client: httpx.AsyncClient, gallery: Gallery) -> None:
    point = await gallery.add("f/a.jpg", picture(), journey=JOURNEY, width=400, height=300)
    seen = await timeline(client, point)
    assert [step["step"] for step in seen["steps"]] == ["uploaded", "noticed", "looked_at", "embedded", "indexed"]
    assert [step["at"] for step in seen["steps"][1:]] == [
        "2024-06-01T11:59:58Z",
        "2024-06-01T11:59:59Z",
        "2024-06-01T11:59:59.500000Z",
        "2024-06-01T00:00:00Z",
    ]
    assert "watch on the folder" in seen["steps"][1]["detail"]
    assert "1.0 s before" in seen["steps"][1]["detail"]
    assert "jpeg of 400 x 300 pixels" in seen["steps"][3]["detail"]
    assert seen["now"]["object"] | {"modified_at": None} == {
        "exists": True,
        "same": True,
        "etag": point.payload.etag,
        "size": point.payload.size,
        "modified_at": None,
        "problem": None,
        "remedy": None,
    }
    assert seen["now"]["rules"]["wanted"] is True
    assert seen["now"]["model"] == {"stored": "tiny", "running": "tiny", "comparable": True}
    assert seen["now"]["dead_letters"] == []
    assert (seen["outcome"], seen["status"]) == ("found", "indexed")
    assert seen["conclusion"] == "f/a.jpg is indexed, and searches find it."


async def test_a_point_of_an_older_release_has_the_time_of_its_version_and_says_that_it_is_inferred(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    noticed, looked_at = (await timeline(client, await gallery.add("a.jpg", picture(), version=1_717_243_199_000)))[
        "steps"
    ][1:3]
    assert (noticed["step"], noticed["at"]) == ("noticed", None)
    assert (looked_at["at"], looked_at["approximate"]) == ("2024-06-01T11:59:59Z", True)
    looked_at = (await timeline(client, await gallery.add("b.jpg", picture(), version=7)))["steps"][2]
    assert (looked_at["at"], looked_at["approximate"]) == (None, False), "a version that is no time is not shown as one"


async def test_a_rejected_image_tells_the_reason_the_release_and_what_to_do(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    point = await gallery.add("bad.jpg", b"broken", journey=JOURNEY, **BROKEN)
    seen = await timeline(client, point)
    assert seen["outcome"] == "rejected"
    assert seen["conclusion"] == "bad.jpg is not found, because it was rejected as decode_failed: it ends early."
    assert "Upload" in seen["remedy"]
    verdict = seen["steps"][3]
    assert (verdict["step"], verdict["at"]) == ("rejected", "2024-06-01T11:59:59.500000Z")
    assert "release 0.1" in verdict["detail"]
    (gallery.root / "bad.jpg").write_bytes(picture())
    seen = await timeline(client, point)
    assert (seen["outcome"], seen["now"]["object"]["same"]) == ("not_yet", False)


async def test_an_image_that_changed_went_or_came_back_is_told_so_at_once(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    point = await gallery.add("a.jpg", picture())
    (gallery.root / "a.jpg").write_bytes(picture("red"))
    seen = await timeline(client, point)
    assert (seen["outcome"], seen["now"]["object"]["same"]) == ("outdated", False)
    assert "replaced" in seen["conclusion"]
    assert f"POST /v1/images/{point.id}/retry" in seen["remedy"]
    (gallery.root / "a.jpg").unlink()
    seen = await timeline(client, point)
    assert (seen["outcome"], seen["now"]["object"]["exists"]) == ("outdated", False)
    gone = await gallery.add("gone.jpg", picture(), status=Status.GONE, etag=None)
    assert (await timeline(client, gone))["outcome"] == "not_yet", "it is back"
    (gallery.root / "gone.jpg").unlink()
    seen = await timeline(client, gone)
    assert seen["outcome"] == "gone"
    assert "2024-06-01 at 00:00:00" in seen["conclusion"]


async def test_a_key_that_the_index_does_not_know_is_explained_by_the_rules_and_a_look(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    (gallery.root / "new.jpg").write_bytes(picture())
    seen = await explained(client, "new.jpg")
    assert (seen["outcome"], seen["status"], seen["steps"]) == ("not_yet", None, [])
    assert seen["id"] == str(point_id("folder", "pictures", "new.jpg"))
    gallery.rules.away = ["folder"]
    assert "waits for folder" in (await explained(client, "new.jpg"))["conclusion"]
    gallery.rules.away = []
    gallery.rules.refused = Verdict(False, "it fits the exclude pattern *.jpg", "Rename it.")
    seen = await explained(client, "new.jpg")
    assert (seen["outcome"], seen["remedy"]) == ("ignored", "Rename it.")
    assert "exclude pattern *.jpg" in seen["conclusion"]
    gallery.rules.refused = None
    assert (await explained(client, "New.jpg"))["outcome"] == "not_there"
    gallery.root.rename(gallery.root.with_name("elsewhere"))
    seen = await explained(client, "new.jpg")
    assert seen["outcome"] == "unknown"
    assert "cannot be opened" in seen["conclusion"]
    assert "mount" in seen["remedy"]


async def test_a_dead_letter_explains_what_never_became_a_point(client: httpx.AsyncClient, gallery: Gallery) -> None:
    (gallery.root / "a.jpg").write_bytes(picture())
    gallery.rules.found = [letter("folder://pictures/a.jpg")]
    seen = await explained(client, "a.jpg")
    assert seen["outcome"] == "rejected"
    assert seen["now"]["dead_letters"] == [
        {
            "occurred_at": "2024-06-01T00:00:00Z",
            "stage": "indexer",
            "reason": "invalid_vector",
            "detail": "it holds NaN",
        }
    ]


async def test_vectors_of_another_model_cannot_be_found(gallery: Gallery) -> None:
    point = await gallery.add("a.jpg", picture())
    other = FakeEngine(FakeModel(identity("other-space-fp32", "large")))
    async with client_of(gallery.app(other)) as client:
        seen = await timeline(client, point)
    assert seen["outcome"] == "incomparable"
    assert "--model tiny" in seen["remedy"]
    same_space = FakeEngine(FakeModel(identity("abc-def-bf16")))
    async with client_of(gallery.app(same_space)) as client:
        assert (await timeline(client, point))["outcome"] == "found", "another number type is the same space"


async def test_without_originals_and_rules_it_says_what_it_cannot_know(
    gallery: Gallery, engine: FakeEngine, index: VectorIndex
) -> None:
    point = await gallery.add("a.jpg", picture())
    async with client_of(gallery.app(engine, OneImage())) as client:
        seen = await timeline(client, point)
    assert (seen["outcome"], seen["now"]["object"]["exists"]) == ("found", None)
    assert "no access" in seen["conclusion"]
    assert (seen["now"]["rules"]["wanted"], seen["now"]["dead_letters"]) == (None, None)


async def test_where_several_are_meant_they_are_named(
    client: httpx.AsyncClient, gallery: Gallery, index: VectorIndex
) -> None:
    await gallery.add("a.jpg", picture())
    await index.write([image_point("a.jpg", bucket="other"), image_point("a.jpg.png", bucket="third")])
    answer = await client.get("/v1/explain", params={"key": "a.jpg"})
    assert answer.status_code == 422
    assert "folder://pictures, s3://other" in answer.json()["detail"]
    assert (await explained(client, "a.jpg", bucket="other"))["source"] == "s3"
    assert (await explained(client, "a.jpg.png"))["bucket"] == "third"


async def test_a_key_is_not_missed_among_many_that_begin_like_it(
    client: httpx.AsyncClient, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.search.one_image.explain_routes._PAGES", 0)  # as if they filled all pages
    await gallery.add("1", picture())
    assert (await explained(client, "1"))["outcome"] == "found"


async def test_no_bucket_that_was_never_let_in_is_looked_at(
    client: httpx.AsyncClient, gallery: Gallery, index: VectorIndex
) -> None:
    gallery.rules.follows = ()
    assert (await client.get("/v1/explain", params={"key": "a.jpg"})).json()["errors"][0]["field"] == "bucket"
    answer = await client.get("/v1/explain", params={"key": "a.jpg", "bucket": "secrets"})
    assert answer.status_code == 404
    await index.write([image_point("other.jpg", bucket="secrets")])
    assert (await explained(client, "a.jpg", bucket="secrets"))["outcome"] == "unknown"


async def test_without_a_collection_keys_are_explained_all_the_same(
    gallery: Gallery, engine: FakeEngine, empty_index: QdrantIndex, tmp_path: Path
) -> None:
    bare = make_gallery(tmp_path / "pictures", tmp_path / "cache", empty_index)
    async with bare.store, client_of(bare.app(engine)) as client:
        assert (await explained(client, "a.jpg"))["outcome"] == "not_there"


async def test_the_rules_of_settings_name_the_first_that_leaves_a_key_alone(tmp_path: Path) -> None:
    environment = {"SIGHTLINE_DATA_DIR": str(tmp_path), "SIGHTLINE_INGEST__EXCLUDE": "private/*,*raw*"}
    up = SettingsRules(load_settings(environment), follows=("s3", "photos", "2024/"))
    assert up.verdict("s3", "photos", "2024/a.jpg").wanted
    for place, why in (
        (("s3", "others", "2024/a.jpg"), "follows s3://photos/2024/"),
        (("s3", "photos", "2023/a.jpg"), "begin with 2024/"),
        (("s3", "photos", "2024/a-raw.jpg"), r"exclude pattern *raw*"),
        (("s3", "photos", "2024/a.txt"), "files that end in .txt"),
        (("s3", "photos", "2024/.a.jpg"), "hidden"),
        (("s3", "photos", "2024/@eaDir/a.jpg"), "@eadir"),
        (("s3", "photos", "2024/b/"), "folder"),
    ):
        verdict = up.verdict(*place)
        assert not verdict.wanted
        assert why in verdict.why, place
        assert verdict.remedy
    fleet = SettingsRules(load_settings(environment | {"SIGHTLINE_INGEST__BUCKETS": "photos,art"}))
    assert list(fleet.places()) == [("s3", "photos"), ("s3", "art")]
    assert not fleet.verdict("s3", "others", "a.jpg").wanted
    assert not fleet.verdict("s3", "art", "private/a.jpg").wanted
    only = SettingsRules(load_settings(environment | {"SIGHTLINE_INGEST__INCLUDE": "*.tga"}))
    assert "no include pattern" in only.verdict("s3", "art", "a.jpg").why


async def test_the_letters_in_the_data_folder_are_found_by_object(tmp_path: Path) -> None:
    letters = FileDeadLetters(tmp_path / "dead-letters")
    mine, other = letter("s3://photos/a.jpg"), letter("s3://photos/b.jpg")
    await letters.write([mine, other, letter("s3://photos/a.jpg", stage="embedder")])
    rules = SettingsRules(load_settings({"SIGHTLINE_DATA_DIR": str(tmp_path)}))
    found = await rules.letters("s3", "photos", "a.jpg")
    assert found is not None
    assert {one.stage for one in found} == {"indexer", "embedder"}
    assert {one.object for one in found} == {"s3://photos/a.jpg"}
    on_kafka = {"SIGHTLINE_DATA_DIR": str(tmp_path), "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": "localhost:9092"}
    assert await SettingsRules(load_settings(on_kafka)).letters("s3", "photos", "a.jpg") is None


def letter(about: str, stage: str = "indexer") -> DeadLetter:
    return DeadLetter(
        stage=stage,
        reason=RejectReason.INVALID_VECTOR,
        detail="it holds NaN",
        object=about,
        origin=Origin(topic="image-embeddings", partition=0, offset=1),
        original=b"x",
        release="0.1",
        occurred_at=datetime(2024, 6, 1, tzinfo=UTC),
    )
