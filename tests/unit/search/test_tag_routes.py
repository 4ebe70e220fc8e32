"""Photos on the service's own disk: tagged one by one, and by folders in the background, never outside the roots."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Send

from encoders.tagger import TagsImpossible
from encoders.vocabulary import DEFAULT_TAGS
from runtime.access.gate import CALLER, EVERYBODY, Caller
from runtime.access.scopes import Scope
from runtime.probes import Probes
from schemas.collection import Status
from schemas.errors import DependencyUnavailable
from schemas.events import ImageFacts, Tag
from services.search.api import create_app
from services.search.service_app import embedding_app
from services.search.tagging import tag_directory
from services.search.tagging.photo_roots import PhotoRoot, PhotoRoots
from services.search.tagging.photo_tagging import PhotoTagging, exif_text
from services.search.tagging.tag_directory import DirectoryTagging
from services.search.tagging.tag_routes import tag_router
from stores.qdrant_server import QdrantIndex
from stores.vectors import StoredPoint, Vectors, Where
from tests.unit.search.conftest import LIMITS, client_of, image_point
from tests.unit.search.fakes import FakeEngine, FakeImage

TAKEN = datetime(2024, 5, 15, 14, 30, 22)


@dataclass
class StandIn:
    """Gives the first tags, whatever the image."""

    names: Sequence[str]
    version: str

    def tags(self, vectors: Vectors) -> Sequence[tuple[Tag, ...]]:
        scored = tuple(Tag(tag=name, score=0.894512 / (n + 1)) for n, name in enumerate(self.names))
        return [scored for _ in vectors]


@dataclass
class Taggers:
    """Makes them, and remembers what for."""

    asked: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    impossible: bool = False

    async def tagger(self, tags: tuple[str, ...], top_k: int) -> StandIn:
        if self.impossible:
            raise TagsImpossible("hashing cannot tag images")
        self.asked.append((tags, top_k))
        names = (tags or DEFAULT_TAGS)[:top_k]
        return StandIn(names, f"by {','.join(names)}")


class Camera(FakeEngine):
    """An engine that finds a date in every photo."""

    async def embed_image(self, data: bytes, *, key: str | None = None, urgent: bool = False) -> FakeImage:
        image = await super().embed_image(data, key=key, urgent=urgent)
        return FakeImage(image.vector, ImageFacts(width=4, height=3, format="jpeg", taken_at=TAKEN))


@dataclass
class Tagged:
    """The routes over two roots, `photos` and `more`, of which `photos` may be indexed."""

    client: httpx.AsyncClient
    photos: Path
    more: Path
    taggers: Taggers
    engine: Camera
    folders: DirectoryTagging

    async def image(self, **body: object) -> httpx.Response:
        return await self.client.post("/tag/image", json=body)

    async def directory(self, path: Path | str, **body: object) -> httpx.Response:
        return await self.client.post("/tag/directory", json={"directory_path": str(path), **body})

    async def done(self, answer: httpx.Response) -> dict[str, Any]:
        """The job that an answer names, once it is over."""
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(30):
            while True:
                job: dict[str, Any] = (await self.client.get(answer.headers["location"])).json()
                if job["state"] in ("done", "failed"):
                    return job
                await asyncio.sleep(0.005)


@asynccontextmanager
async def tagged(
    folder: Path, index: QdrantIndex | None = None, patience: float = 0.05, caller: Caller = EVERYBODY
) -> AsyncIterator[Tagged]:
    photos, more, outside = (folder / name for name in ("photos", "more", "outside"))
    for one in (photos / "cats", more, outside):
        one.mkdir(parents=True)
    for path in (photos / "1.jpg", photos / "cats" / "2.JPG", photos / "3.png", more / "4.jpeg", outside / "5.jpg"):
        path.write_bytes(f"IMG {path.name}".encode())
    (photos / "note.txt").write_bytes(b"IMG no extension of a photo")
    (photos / "broken.jpg").write_bytes(b"<html>")
    engine, taggers = Camera(), Taggers()
    roots = [PhotoRoot(photos, indexed_as=("s3", "images") if index else None), PhotoRoot(more)]
    tagging = PhotoTagging(engine, taggers.tagger, PhotoRoots(roots), image_bytes=1000)
    folders = DirectoryTagging(tagging, index, patience=patience, every=0.01)
    app: FastAPI = embedding_app(
        engine,
        probes=Probes(),
        registry=CollectorRegistry(),
        limits=LIMITS,
        routers=[tag_router(tagging, folders, LIMITS)],
    )
    stop = asyncio.Event()
    running = asyncio.create_task(folders.run(stop))

    async def gate(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        scope["state"] = {CALLER: caller}
        await app(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://search") as client:
        yield Tagged(client, photos, more, taggers, engine, folders)
    stop.set()
    await running


@pytest.fixture
async def tagging(tmp_path: Path) -> AsyncIterator[Tagged]:
    async with tagged(tmp_path) as made:
        yield made


async def test_no_two_models_of_the_whole_api_share_a_name(index: QdrantIndex) -> None:
    engine = Camera()
    tagging = PhotoTagging(engine, Taggers().tagger, PhotoRoots([]), image_bytes=1000)
    router = tag_router(tagging, DirectoryTagging(tagging, index), LIMITS)
    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), routers=[router])
    # FastAPI would tell them apart by their modules' paths.
    assert not [name for name in app.openapi()["components"]["schemas"] if "__" in name]


# One photo


async def test_a_photo_has_its_best_tags_and_its_date(tagging: Tagged) -> None:
    path = str(tagging.photos / "1.jpg")
    answer = await tagging.image(image_path=path, tags=["cat", "landscape", "dog"], top_k=2)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["image_path", "tags", "exif_datetime", "error"]
    assert answer.json() == {
        "image_path": path,
        "tags": [["cat", 0.8945], ["landscape", 0.4473]],
        "exif_datetime": "2024:05:15 14:30:22",
        "error": None,
    }


@pytest.mark.parametrize("body", [{}, {"tags": []}, {"tags": None}])
async def test_four_of_the_default_tags_are_the_default(tagging: Tagged, body: dict[str, Any]) -> None:
    answer = await tagging.image(image_path=str(tagging.photos / "1.jpg"), **body)
    assert [tag for tag, _ in answer.json()["tags"]] == ["cat", "dog", "car", "landscape"]
    assert tagging.taggers.asked == [((), 4)]


async def test_no_more_tags_are_given_than_there_are_and_each_once(tagging: Tagged) -> None:
    path = str(tagging.photos / "1.jpg")
    answer = await tagging.image(image_path=path, tags=["a", "b", "a"], top_k=50)
    assert [tag for tag, _ in answer.json()["tags"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "image_path"),
        ({"image_path": ""}, "image_path"),
        ({"image_path": "1.jpg", "top_k": 0}, "top_k"),
        ({"image_path": "1.jpg", "top_k": "many"}, "top_k"),
        ({"image_path": "1.jpg", "tags": "cat"}, "tags"),
        ({"image_path": "1.jpg", "tags": ["cat", " "]}, "tags.1"),
        ({"image_path": "1.jpg", "tags": ["x" * 101]}, "tags.0"),
        ({"image_path": "1.jpg", "tags": ["a\nb"]}, "tags.0"),
        ({"image_path": "1.jpg", "tags": [str(n) for n in range(257)]}, "tags"),
    ],
)
async def test_what_cannot_be_asked_is_named(tagging: Tagged, body: dict[str, Any], field: str) -> None:
    answer = await tagging.image(**body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_what_is_wrong_with_a_photo_is_its_error(tagging: Tagged) -> None:
    (tagging.photos / "large.jpg").write_bytes(b"IMG" + b"x" * 1000)
    os.mkfifo(tagging.photos / "pipe.jpg")
    wrong = {
        "missing.jpg": "There is no file missing.jpg that can be read.",
        "cats": "There is no file cats that can be read.",
        "": "There is no file photos that can be read.",
        "pipe.jpg": "There is no file pipe.jpg that can be read.",
        "broken.jpg": "The image broken.jpg cannot be used: it looks like text.",
        "large.jpg": "The file large.jpg is larger than 1000 bytes.",
    }
    for name, sentence in wrong.items():
        path = str(tagging.photos / name)
        answer = await tagging.image(image_path=path)
        assert answer.status_code == 200
        assert answer.json() == {"image_path": path, "tags": [], "exif_datetime": None, "error": sentence}


async def test_a_relative_path_begins_in_the_first_root(tagging: Tagged) -> None:
    answer = await tagging.image(image_path="cats/2.JPG")
    assert (answer.json()["image_path"], answer.json()["error"]) == ("cats/2.JPG", None)


async def test_a_model_that_cannot_tag_says_so(tagging: Tagged) -> None:
    tagging.taggers.impossible = True
    for answer in (await tagging.image(image_path="1.jpg"), await tagging.directory(tagging.photos)):
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:sightline:problem:model-gives-no-tags"
        assert answer.json()["detail"] == "hashing cannot tag images"


@pytest.mark.parametrize("path", ["/tag/image", "/tag/directory"])
async def test_only_json_is_read_since_pages_of_other_sites_can_send_the_rest(tagging: Tagged, path: str) -> None:
    sent = b'{"image_path": "1.jpg", "directory_path": "."}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await tagging.client.post(path, content=sent, headers={"Content-Type": kind} if kind else {})
        assert answer.status_code == 415
    good = await tagging.client.post(path, content=sent, headers={"Content-Type": "application/json; charset=utf-8"})
    assert good.status_code == 200


# Outside the roots


@contextmanager
def ways_out(folder: Path) -> Iterator[list[str]]:
    """Paths that lead out of the roots, to what exists and to what does not."""
    photos, outside = folder / "photos", folder / "outside"
    (photos / "link.jpg").symlink_to(outside / "5.jpg")
    (photos / "dangling.jpg").symlink_to(outside / "missing.jpg")
    (photos / "out").symlink_to(outside)
    (photos / "up").symlink_to(Path("..") / "outside")
    (photos / "loop").symlink_to(photos / "chain")
    (photos / "chain").symlink_to("/etc/hostname")
    (folder / "photos-of-others").mkdir()
    (folder / "photos-of-others" / "6.jpg").write_bytes(b"IMG 6")
    yield [
        str(outside / "5.jpg"),
        str(outside / "missing.jpg"),
        str(outside),
        str(folder),
        str(photos / ".." / "outside" / "5.jpg"),
        str(photos / ".." / "outside" / "missing.jpg"),
        str(photos / "link.jpg"),
        str(photos / "dangling.jpg"),
        str(photos / "out" / "5.jpg"),
        str(photos / "out" / "missing.jpg"),
        str(photos / "up" / "5.jpg"),
        str(photos / "loop"),
        str(folder / "photos-of-others" / "6.jpg"),
        "../outside/5.jpg",
        "../../../../../../../../etc/passwd",
        "/etc/passwd",
        "/etc/shadow",
        "/proc/self/environ",
        "/dev/zero",
        "/nowhere/at/all.jpg",
        "/" + "x" * 3000,
        "a\0b",
        "/",
    ]


async def test_what_lies_outside_is_refused_in_the_same_words_whether_or_not_it_is_there(
    tagging: Tagged, tmp_path: Path
) -> None:
    with ways_out(tmp_path) as paths:
        answers = [await tagging.image(image_path=path) for path in paths]
        answers += [await tagging.directory(path) for path in paths]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["type"] == "urn:sightline:problem:outside-roots"
    assert tagging.engine.calls == 0


async def test_a_link_within_the_roots_is_followed(tagging: Tagged) -> None:
    (tagging.photos / "same.jpg").symlink_to(tagging.photos / "1.jpg")
    (tagging.photos / "other").symlink_to(tagging.more)
    for name in ("same.jpg", "other/4.jpeg", "cats/../1.jpg"):
        assert (await tagging.image(image_path=str(tagging.photos / name))).json()["error"] is None


async def test_without_roots_every_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"IMG")
    tagging = PhotoTagging(Camera(), Taggers().tagger, PhotoRoots([]))
    router = tag_router(tagging, DirectoryTagging(tagging), LIMITS)
    app = embedding_app(FakeEngine(), probes=Probes(), registry=CollectorRegistry(), routers=[router])
    async with client_of(app) as client:
        for path in (str(tmp_path / "1.jpg"), "1.jpg", "/"):
            answer = await client.post("/tag/image", json={"image_path": path})
            assert answer.status_code == 403
            assert "SIGHTLINE_TAGS__ROOTS" in answer.json()["remedy"]


# Folders


async def test_a_folder_is_answered_at_once_and_tagged_afterwards(tagging: Tagged) -> None:
    answer = await tagging.directory(tagging.photos, tags=["cat", "dog", "car"], top_k=2)
    body = answer.json()
    assert list(body) == ["message", "directory", "files_count"]
    assert (body["directory"], body["files_count"]) == (str(tagging.photos), 4)
    assert answer.headers["location"] in body["message"]
    job = await tagging.done(answer)
    assert (job["state"], job["read"], job["stored"], job["failed"]) == ("done", 3, 0, 1)
    assert job["tags"] == [{"tag": "cat", "count": 3}, {"tag": "dog", "count": 3}]
    assert {Path(one["image_path"]).name: one["error"] for one in job["results"]} == {
        "1.jpg": None,
        "3.png": None,
        "2.JPG": None,
        "broken.jpg": "The image broken.jpg cannot be used: it looks like text.",
    }
    assert (
        job["results"][0] == (await tagging.image(image_path=str(tagging.photos / "1.jpg"), tags=["cat", "dog"])).json()
    )


async def test_results_are_asked_for_by_tag_and_in_pages(tagging: Tagged) -> None:
    where = (await tagging.directory(tagging.photos, top_k=1)).headers["location"]
    await tagging.done(await tagging.directory(tagging.more))
    everything = (await tagging.client.get(where)).json()["results"]
    pages = [(await tagging.client.get(where, params={"limit": 1, "offset": n})).json()["results"] for n in range(5)]
    assert [one for page in pages for one in page] == everything
    assert len((await tagging.client.get(where, params={"tag": "cat"})).json()["results"]) == 3
    assert (await tagging.client.get(where, params={"tag": "dog"})).json()["results"] == []
    assert (await tagging.client.get(where, params={"lmit": 1})).status_code == 422


@pytest.mark.parametrize(
    ("extensions", "count"),
    [([".jpg"], 3), (["JPG", "txt"], 4), ([".jpg", ".jpg"], 3), ([".webp"], 0), ([], 0)],
)
async def test_the_extensions_decide_whatever_their_case(tagging: Tagged, extensions: list[str], count: int) -> None:
    answer = await tagging.directory(tagging.photos, file_extensions=extensions)
    assert answer.json()["files_count"] == count
    job = await tagging.done(answer)
    assert (job["state"], job["read"] + job["failed"]) == ("done", count)


async def test_a_folder_names_its_photos_as_it_was_named(tagging: Tagged) -> None:
    job = await tagging.done(await tagging.directory("cats/"))
    assert [one["image_path"] for one in job["results"]] == ["cats/2.JPG"]
    assert job["directory"] == "cats/"


async def test_a_folder_that_is_not_there_is_not_found(tagging: Tagged) -> None:
    too_long = "a" * 300
    for path in (tagging.photos / "missing", tagging.photos / "1.jpg", too_long, f"cats/{too_long}/b"):
        answer = await tagging.directory(path)
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:sightline:problem:no-such-folder"
    answer = await tagging.client.get(f"/tag/directory/{uuid4()}")
    assert answer.json()["type"] == "urn:sightline:problem:no-such-job"


async def test_a_folder_does_not_lead_out_by_its_links(tagging: Tagged, tmp_path: Path) -> None:
    with ways_out(tmp_path), socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tagging.photos / "socket.jpg"))
        answer = await tagging.directory(tagging.photos)
        assert answer.json()["files_count"] == 4
        assert (await tagging.done(answer))["read"] == 3


async def test_a_model_that_is_away_fails_the_job_and_not_the_next_one(tagging: Tagged) -> None:
    tagging.engine.failure = DependencyUnavailable("replicate", "it does not answer", "Wait")
    job = await tagging.done(await tagging.directory(tagging.photos))
    assert (job["state"], job["detail"]) == ("failed", "replicate: it does not answer. Wait")
    tagging.engine.failure = None
    assert (await tagging.done(await tagging.directory(tagging.photos)))["state"] == "done"


async def test_no_more_folders_wait_than_may(tmp_path: Path) -> None:
    tagging = PhotoTagging(Camera(), Taggers().tagger, PhotoRoots([PhotoRoot(tmp_path)]))
    folders = DirectoryTagging(tagging)  # which nobody runs
    app = embedding_app(
        FakeEngine(),
        probes=Probes(),
        registry=CollectorRegistry(),
        routers=[tag_router(tagging, folders, LIMITS)],
    )
    async with client_of(app) as client:
        answers = [
            await client.post("/tag/directory", json={"directory_path": str(tmp_path)})
            for _ in range(tag_directory.WAITING_JOBS + 1)
        ]
    assert [answer.status_code for answer in answers] == [200] * tag_directory.WAITING_JOBS + [429]
    assert int(answers[-1].headers["retry-after"]) > 0


# Folders that the index holds


async def tags_of(index: QdrantIndex) -> dict[str, list[str]]:
    page = await index.scroll(Where(status=None), limit=100)
    return {point.payload.key: [tag.tag for tag in point.payload.tags] for point in page.points}


async def test_what_is_indexed_gets_its_tags_from_its_vector_and_keeps_them(tmp_path: Path, index: QdrantIndex) -> None:
    old = (Tag(tag="party", score=0.5),)
    await index.write(
        [
            image_point("1.jpg", tags=old, tags_version="old"),
            image_point("cats/2.JPG"),
            image_point("elsewhere.jpg", tags=old),
            image_point("broken.jpg", status=Status.REJECTED, etag="e", detail="it looks like text"),
        ]
    )
    async with tagged(tmp_path, index) as tagging:
        job = await tagging.done(await tagging.directory(tagging.photos, tags=["cat", "dog"], top_k=1))
        assert (job["stored"], job["read"], job["failed"]) == (2, 1, 1), "3.png is not indexed, and is read"
        assert tagging.engine.calls == 1
        assert job["tags"] == [{"tag": "cat", "count": 3}]
        errors = {Path(one["image_path"]).name: one["error"] for one in job["results"]}
        assert errors == {"3.png": None, "broken.jpg": "The image cannot be used: it looks like text."}
    assert await tags_of(index) == {
        "1.jpg": ["cat"],
        "cats/2.JPG": ["cat"],
        "elsewhere.jpg": ["party"],
        "broken.jpg": [],
    }
    stored = await index.scroll(Where(tag="cat"), limit=10)
    assert {point.payload.tags_version for point in stored.points} == {"by cat"}


async def test_a_photo_that_is_about_to_be_indexed_is_waited_for(
    tmp_path: Path, index: QdrantIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, missed = index.get, asyncio.Event()

    async def told(ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        found = await get(ids, with_vectors=with_vectors)
        if not found:
            missed.set()
        return found

    monkeypatch.setattr(index, "get", told)
    async with tagged(tmp_path, index, patience=30) as tagging:
        answer = await tagging.directory(tagging.photos / "cats", top_k=1)
        await asyncio.wait_for(missed.wait(), 30)
        await index.write([image_point("cats/2.JPG")])
        job = await tagging.done(answer)
        assert (job["stored"], job["read"], tagging.engine.calls) == (1, 0, 0)
    assert await tags_of(index) == {"cats/2.JPG": ["cat"]}


async def test_another_root_is_read_though_there_is_an_index(tmp_path: Path, index: QdrantIndex) -> None:
    await index.write([image_point("4.jpeg")])
    async with tagged(tmp_path, index) as tagging:
        job = await tagging.done(await tagging.directory(tagging.more))
        assert (job["stored"], job["read"]) == (0, 1)
    assert await tags_of(index) == {"4.jpeg": []}


def test_dates_are_written_as_exif_writes_them() -> None:
    assert exif_text(None) is None
    assert exif_text(datetime(987, 1, 2, 3, 4, 5)) == "0987:01:02 03:04:05"
    assert exif_text(datetime(2024, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)) == "2024:12:31 23:59:59"


async def test_writing_tags_into_the_index_needs_admin_and_reading_a_folder_does_not(
    tmp_path: Path, index: QdrantIndex
) -> None:
    await index.write([image_point("1.jpg")])
    before = await index.get([image_point("1.jpg").id])
    embeds = Caller("tagger", frozenset({Scope.EMBED}), required=True)
    async with tagged(tmp_path, index, caller=embeds) as tagging:
        answer = await tagging.directory(tagging.photos, tags=["cat"])
        assert answer.status_code == 403
        body = answer.json()
        assert (body["type"], body["scope"]) == ("urn:sightline:problem:forbidden", "admin")
        assert "The key tagger lacks the scope admin" in body["detail"]
        assert "--scope embed,admin" in body["remedy"]
        assert 'scope="admin"' in answer.headers["www-authenticate"]
        missing = await tagging.directory(tagging.photos / "missing")
        assert missing.status_code == 403, "nor is it told which folders there are"
        assert (await tagging.done(await tagging.directory(tagging.more)))["read"] == 1
        assert (await tagging.image(image_path=str(tagging.photos / "1.jpg"))).status_code == 200
    assert await index.get([image_point("1.jpg").id]) == before


async def test_without_an_index_a_folder_needs_no_more_than_embed(tmp_path: Path) -> None:
    async with tagged(tmp_path, caller=Caller("tagger", frozenset({Scope.EMBED}), required=True)) as tagging:
        assert (await tagging.done(await tagging.directory(tagging.photos)))["read"] == 3


async def test_a_key_with_admin_writes_tags_into_the_index(tmp_path: Path, index: QdrantIndex) -> None:
    await index.write([image_point("1.jpg")])
    may = Caller("tagger", frozenset({Scope.EMBED, Scope.ADMIN}), required=True)
    async with tagged(tmp_path, index, caller=may) as tagging:
        job = await tagging.done(await tagging.directory(tagging.photos, tags=["cat"]))
        assert job["stored"] == 1
