"""`GET /v1/images/{id}/thumbnail`: made once, kept, bounded, and of the very object that was indexed."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imaging.thumbnails import ThumbnailFormat
from schemas.collection import Status
from services.search.one_image.thumbnail_files import ThumbnailFiles
from services.search.one_image.thumbnails import SIDES, accepted, step
from stores.vectors import VectorIndex
from tests.unit.search.conftest import client_of
from tests.unit.search.fakes import FakeEngine
from tests.unit.search.one_image_parts import Gallery, make_gallery, picture


@pytest.fixture
async def gallery(tmp_path: Path, index: VectorIndex) -> AsyncIterator[Gallery]:
    made = make_gallery(tmp_path / "pictures", tmp_path / "cache", index)
    async with made.store:
        yield made


@pytest.fixture
async def client(gallery: Gallery, engine: FakeEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(gallery.app(engine)) as client:
        yield client


def opened(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


async def test_it_is_small_and_of_the_kind_that_the_browser_takes(client: httpx.AsyncClient, gallery: Gallery) -> None:
    point = await gallery.add("a.jpg", picture("teal", (800, 600)))
    address = f"/v1/images/{point.id}/thumbnail"
    plain = await client.get(address)
    assert plain.headers["content-type"] == "image/jpeg"
    assert opened(plain).size == (320, 240)
    webp = await client.get(address, params={"size": 100}, headers={"Accept": "image/avif,image/webp,*/*;q=0.8"})
    assert webp.headers["content-type"] == "image/webp"
    assert opened(webp).size == (128, 96), "rounded up to a size that is made"
    for answer in (plain, webp):
        assert answer.headers["vary"] == "Accept"
        assert answer.headers["cache-control"].startswith("private, max-age=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["etag"].startswith('"')
    assert plain.headers["etag"] != webp.headers["etag"]


async def test_it_is_made_once_and_survives_a_restart(
    client: httpx.AsyncClient, gallery: Gallery, engine: FakeEngine, tmp_path: Path, index: VectorIndex
) -> None:
    point = await gallery.add("a.jpg", picture())
    address = f"/v1/images/{point.id}/thumbnail"
    first = await client.get(address)
    assert (await client.get(address)).content == first.content
    assert gallery.store.looks == 1
    again = make_gallery(tmp_path / "pictures", tmp_path / "cache", index)
    async with again.store, client_of(again.app(engine)) as other:
        assert (await other.get(address)).content == first.content
    assert again.store.looks == 0


async def test_all_who_ask_at_once_wait_for_one_look(client: httpx.AsyncClient, gallery: Gallery) -> None:
    point = await gallery.add("a.jpg", picture())
    copy = await gallery.add("copy.jpg", picture())
    addresses = [f"/v1/images/{one.id}/thumbnail" for one in (point, copy) for _ in range(10)]
    answers = await asyncio.gather(*(client.get(address) for address in addresses))
    assert len({answer.content for answer in answers}) == 1
    assert gallery.store.looks == 1, "the same bytes under another key need no second look"


async def test_whoever_hangs_up_does_not_take_it_from_the_others(gallery: Gallery) -> None:
    point = await gallery.add("a.jpg", picture())
    entered, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    original = gallery.store._look

    def slow(*arguments):  # type: ignore[no-untyped-def]
        loop.call_soon_threadsafe(entered.set)
        go_on.wait(10)
        return original(*arguments)

    gallery.store._look = slow  # type: ignore[method-assign]
    first = asyncio.create_task(gallery.thumbnails.get(point.payload, 64, ThumbnailFormat.JPEG))
    await entered.wait()
    second = asyncio.create_task(gallery.thumbnails.get(point.payload, 64, ThumbnailFormat.JPEG))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go_on.set()
    assert (await second).data
    assert gallery.store.looks == 1


async def test_whoever_has_it_is_told_so_without_a_look(client: httpx.AsyncClient, gallery: Gallery) -> None:
    point = await gallery.add("a.jpg", picture())
    address = f"/v1/images/{point.id}/thumbnail"
    tag = (await client.get(address)).headers["etag"]
    gallery.files.put("x" * 10, b"0" * 1_000_000)  # everything else is forgotten
    answer = await client.get(address, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert gallery.store.looks == 1


async def test_an_address_with_the_etag_may_be_kept_for_long_and_only_with_the_right_one(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    point = await gallery.add("a.jpg", picture())
    address = f"/v1/images/{point.id}/thumbnail"
    kept = await client.get(address, params={"etag": point.payload.etag or ""})
    assert "immutable" in kept.headers["cache-control"]
    assert "immutable" not in (await client.get(address, params={"etag": "older"})).headers["cache-control"]


async def test_an_image_that_was_overwritten_shows_no_other_picture_than_the_one_that_was_found(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    point = await gallery.add("a.jpg", picture("teal"))
    address = f"/v1/images/{point.id}/thumbnail"
    (gallery.root / "a.jpg").write_bytes(picture("red"))
    answer = await client.get(address)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:sightline:problem:original-changed")
    newer = await gallery.add("a.jpg", picture("red"), version=8)
    assert newer.id == point.id
    red = opened(await client.get(address)).convert("RGB").getpixel((5, 5))
    assert isinstance(red, tuple)
    assert red[0] > 200
    (gallery.root / "a.jpg").unlink()
    assert (await client.get(address)).status_code == 200, "while it is indexed, what is kept is still its picture"
    await gallery.index.write(
        [type(point)(point.id, point.payload.model_copy(update={"status": Status.GONE, "version": 9}))]
    )
    assert (await client.get(address)).status_code == 404, "not when it is gone, whatever is kept"


async def test_an_etag_that_stayed_while_the_bytes_changed_fools_nobody(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    point = await gallery.add("a.jpg", picture(), sha256="0" * 64)
    assert (await client.get(f"/v1/images/{point.id}/thumbnail")).status_code == 409
    assert gallery.files.total_bytes == 0


async def test_where_no_hash_is_known_the_etag_decides(client: httpx.AsyncClient, gallery: Gallery) -> None:
    point = await gallery.add("a.jpg", picture(), sha256=None)
    assert (await client.get(f"/v1/images/{point.id}/thumbnail")).status_code == 200
    other = await gallery.add("b.jpg", picture(), sha256=None)
    (gallery.root / "b.jpg").write_bytes(picture("red"))
    assert (await client.get(f"/v1/images/{other.id}/thumbnail")).status_code == 409


async def test_what_cannot_be_drawn_is_told_with_the_reason(client: httpx.AsyncClient, gallery: Gallery) -> None:
    broken = await gallery.add("broken.jpg", picture()[:300])
    answer = await client.get(f"/v1/images/{broken.id}/thumbnail")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:sightline:problem:no-thumbnail"
    assert answer.json()["reason"] == "decode_failed"
    large = await gallery.add("large.jpg", picture("teal", (1001, 1000)))
    assert (await client.get(f"/v1/images/{large.id}/thumbnail")).json()["reason"] == "too_many_pixels"


@pytest.mark.parametrize(("name", "value"), [("size", 63), ("size", 1025), ("size", "big"), ("side", 64)])
async def test_impossible_sizes_are_named(
    client: httpx.AsyncClient, gallery: Gallery, name: str, value: object
) -> None:
    point = await gallery.add("a.jpg", picture())
    answer = await client.get(f"/v1/images/{point.id}/thumbnail", params={name: str(value)})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == name


async def test_a_disk_that_cannot_be_written_costs_speed_and_nothing_else(
    tmp_path: Path, index: VectorIndex, engine: FakeEngine
) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder should be")
    gallery = make_gallery(tmp_path / "pictures", tmp_path / "cache", index)
    async with gallery.store, client_of(gallery.app(engine)) as client:
        point = await gallery.add("a.jpg", picture())
        for _ in range(2):
            assert (await client.get(f"/v1/images/{point.id}/thumbnail")).status_code == 200
        assert gallery.store.looks == 2


@given(
    st.lists(st.tuples(st.sampled_from(["get", "put"]), st.integers(0, 8), st.integers(1, 60)), min_size=1, max_size=40)
)
@settings(deadline=None, max_examples=60)
def test_files_never_exceed_their_bound_and_the_least_recently_used_goes_first(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    files = ThumbnailFiles(folder, 100)
    model: dict[str, bytes] = {}
    for kind, number, size in steps:
        name = f"{number:02}name"
        if kind == "get":
            assert files.get(name) == model.get(name)
            if name in model:
                model[name] = model.pop(name)
        else:
            model.pop(name, None)
            model[name] = bytes([number]) * size
            files.put(name, model[name])
            while sum(map(len, model.values())) > 100:
                del model[next(iter(model))]
        on_disk = {path.name: path.read_bytes() for path in folder.glob("*/*")}
        assert on_disk == model
        assert files.total_bytes == sum(map(len, model.values()))


def test_what_was_looked_at_lately_stays(tmp_path: Path) -> None:
    files = ThumbnailFiles(tmp_path, 100)
    files.put("first", b"1" * 40)
    files.put("second", b"2" * 40)
    assert files.get("first") is not None
    files.put("third", b"3" * 40)
    assert {path.name for path in tmp_path.glob("*/*")} == {"first", "third"}


def test_a_new_process_counts_what_is_there_and_forgets_what_is_too_much(tmp_path: Path) -> None:
    old = ThumbnailFiles(tmp_path, 1000)
    for number in range(10):
        old.put(f"{number:02}name", b"x" * 100)
    new = ThumbnailFiles(tmp_path, 500)
    new.put("zz", b"y" * 100)
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) == 500
    assert new.get("zz") == b"y" * 100
    assert not list(tmp_path.glob("*/*.partial"))


@given(st.integers(1, 5000))
@settings(deadline=None)
def test_sides_are_rounded_up_to_few(side: int) -> None:
    assert step(side) in SIDES
    assert step(side) >= min(side, SIDES[-1])


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, "jpeg"),
        ("*/*", "jpeg"),
        ("image/webp", "webp"),
        ("image/png, image/WebP;q=0.5", "webp"),
        ("image/webp;q=0", "jpeg"),
        ("image/webp;q=0.0, */*", "jpeg"),
        (";,;;q=", "jpeg"),
    ],
)
def test_webp_is_for_those_who_name_it(header: str | None, kind: str) -> None:
    assert accepted(header).value == kind
