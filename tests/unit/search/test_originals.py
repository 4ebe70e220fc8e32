"""`GET /v1/images/{id}/original`: the very object that was indexed, told to browsers as what it is."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from cli.originals import KnownStores, SourceStores
from runtime.settings import load_settings
from schemas.collection import Status
from services.search.one_image import single_image_routes
from services.search.one_image.byte_ranges import Unsatisfiable, byte_range, has_already
from services.search.one_image.originals import Originals
from services.search.one_image.parts import OneImage
from services.search.one_image.single_image_routes import OriginalLink
from stores.s3 import S3Store
from stores.vectors import VectorIndex
from tests.unit.search.conftest import client_of, image_point, rejected
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


async def test_a_file_is_streamed_whole_and_told_as_what_it_is(
    client: httpx.AsyncClient, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_image_routes, "PART_BYTES", 1000)
    data = picture("teal", (900, 700))
    point = await gallery.add('f/Zürich "1".jpg', data)
    answer = await client.get(f"/v1/images/{point.id}/original")
    assert answer.status_code == 200
    assert answer.content == data
    assert len(data) > 3000, "so that it took several parts"
    headers = answer.headers
    assert headers["content-type"] == "image/jpeg"
    assert headers["content-length"] == str(len(data))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox"
    assert headers["content-disposition"].startswith(
        "inline; filename=\"Z_rich _1_.jpg\"; filename*=UTF-8''Z%C3%BCrich"
    )
    assert headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert headers["cache-control"] == "private, no-cache"


async def test_whoever_has_it_is_told_so(client: httpx.AsyncClient, gallery: Gallery) -> None:
    point = await gallery.add("a.jpg", picture())
    address = f"/v1/images/{point.id}/original"
    tag = (await client.get(address)).headers["etag"]
    again = await client.get(address, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    assert (await client.get(address, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_a_part_may_be_asked_for(client: httpx.AsyncClient, gallery: Gallery) -> None:
    data = picture()
    point = await gallery.add("a.jpg", data)
    address = f"/v1/images/{point.id}/original"
    part = await client.get(address, headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == data[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(data)}"
    assert (await client.get(address, headers={"Range": "bytes=-7"})).content == data[-7:]
    beyond = await client.get(address, headers={"Range": f"bytes={len(data)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(data)}"
    stale = await client.get(address, headers={"Range": "bytes=10-19", "If-Range": '"older"'})
    assert (stale.status_code, stale.content) == (200, data)
    head = await client.head(address)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(data))


async def test_what_the_decoder_did_not_know_is_saved_and_never_shown(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    point = await gallery.add("page.html", b"<script>alert(1)</script>", format="svg", content_type="text/html")
    answer = await client.get(f"/v1/images/{point.id}/original")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_an_object_that_is_another_by_now_is_not_passed_off_as_the_one_that_was_found(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    point = await gallery.add("a.jpg", picture())
    (gallery.root / "a.jpg").write_bytes(picture("red", (10, 10)))
    answer = await client.get(f"/v1/images/{point.id}/original")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:sightline:problem:original-changed"
    (gallery.root / "a.jpg").unlink()
    answer = await client.get(f"/v1/images/{point.id}/original")
    assert answer.status_code == 404
    assert "no longer in pictures" in answer.json()["detail"]


async def test_rejected_gone_and_unknown_images_have_no_original(
    client: httpx.AsyncClient, gallery: Gallery, index: VectorIndex
) -> None:
    bad, gone = rejected("bad.jpg"), image_point("gone.jpg", status=Status.GONE)
    await index.write([bad, gone])
    for one in (bad.id, gone.id, image_point("never.jpg").id):
        for what in ("original", "thumbnail"):
            answer = await client.get(f"/v1/images/{one}/{what}")
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"


async def test_without_access_to_originals_the_answer_says_so(
    gallery: Gallery, engine: FakeEngine, index: VectorIndex
) -> None:
    point = await gallery.add("a.jpg", picture())
    elsewhere = image_point("b.jpg")
    await index.write([elsewhere])
    async with client_of(gallery.app(engine, OneImage())) as client:
        for what in ("original", "thumbnail"):
            answer = await client.get(f"/v1/images/{point.id}/{what}")
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:sightline:problem:no-originals")
    async with client_of(gallery.app(engine)) as client:
        answer = await client.get(f"/v1/images/{elsewhere.id}/original")
        assert answer.status_code == 404
        assert "folder://pictures" in answer.json()["detail"]


async def test_a_folder_that_is_away_is_an_outage_and_no_missing_image(
    client: httpx.AsyncClient, gallery: Gallery
) -> None:
    point = await gallery.add("a.jpg", picture())
    gallery.root.rename(gallery.root.with_name("elsewhere"))
    for what in ("original", "thumbnail"):
        answer = await client.get(f"/v1/images/{point.id}/{what}")
        assert answer.status_code == 503
        assert "retry-after" in answer.headers


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAtesting")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-indeed")
    name = f"b{abs(hash(request.node.name)):x}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    return name


def s3_of(name: str, endpoint: str) -> S3Store:
    return S3Store(name, max_bytes=10_000_000, endpoint_url=endpoint, region="us-east-1", addressing_style="path")


async def test_a_bucket_is_linked_to_for_a_short_time_and_never_as_a_page(
    index: VectorIndex,
    engine: FakeEngine,
    gallery: Gallery,
    endpoint: str,
    bucket: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = picture()
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    etag = s3.put_object(Bucket=bucket, Key="f/a.jpg", Body=data, ContentType="text/html")["ETag"].strip('"')
    point = image_point("f/a.jpg", bucket=bucket, etag=etag, format="jpeg", sha256=hashlib.sha256(data).hexdigest())
    await index.write([point])
    address = f"/v1/images/{point.id}/original"
    async with s3_of(bucket, endpoint) as store:
        originals = Originals(SourceStores(store), link_seconds=120)
        async with client_of(gallery.app(engine, OneImage(originals=originals))) as client:
            answer = await client.get(address)
            assert answer.status_code == 302
            assert answer.headers["cache-control"] == "no-store"
            link = answer.headers["location"]
            assert "X-Amz-Expires=120" in link
            assert "very-secret-indeed" not in link
            told = await client.get(address, params={"link": "true"})
            assert (told.status_code, told.headers["cache-control"]) == (200, "no-store")
            assert told.json() == OriginalLink(**told.json()).model_dump()
            assert told.json()["seconds"] == 120
            async with httpx.AsyncClient() as browser:
                followed = await browser.get(link)
                assert (await browser.get(told.json()["link"])).content == data
            assert followed.content == data
            assert followed.headers["content-type"] == "image/jpeg", "and not the text/html that the bucket says"
            assert followed.headers["content-disposition"].startswith('inline; filename="a.jpg"')
            s3.put_object(Bucket=bucket, Key="f/a.jpg", Body=b"other")
            assert (await client.get(address)).status_code == 409
            s3.delete_object(Bucket=bucket, Key="f/a.jpg")
            assert (await client.get(address)).status_code == 404
    ours = "".join(record.getMessage() for record in caplog.records if record.name.startswith("sightline"))
    assert "X-Amz-Signature" not in ours


async def test_a_bucket_at_an_inner_address_is_streamed(
    index: VectorIndex, engine: FakeEngine, gallery: Gallery, endpoint: str, bucket: str
) -> None:
    data = picture("olive", (1200, 900))
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    etag = s3.put_object(Bucket=bucket, Key="a.jpg", Body=data)["ETag"].strip('"')
    point = image_point("a.jpg", bucket=bucket, etag=etag, format="jpeg", sha256=hashlib.sha256(data).hexdigest())
    await index.write([point])
    async with s3_of(bucket, endpoint) as store:
        originals = Originals(SourceStores(store), links=False)
        async with client_of(gallery.app(engine, OneImage(originals=originals))) as client:
            answer = await client.get(f"/v1/images/{point.id}/original")
            assert (answer.status_code, answer.content) == (200, data)
            told = await client.get(f"/v1/images/{point.id}/original?link=true")
            assert (told.status_code, told.json()) == (200, {"link": None, "seconds": None})
            part = await client.get(f"/v1/images/{point.id}/original", headers={"Range": "bytes=5-"})
            assert (part.status_code, part.content) == (206, data[5:])


async def test_buckets_are_opened_when_they_are_needed_as_far_as_they_are_allowed(
    endpoint: str, bucket: str, tmp_path: Path
) -> None:
    environment = {
        "SIGHTLINE_DATA_DIR": str(tmp_path),
        "SIGHTLINE_S3__ENDPOINT_URL": endpoint,
        "SIGHTLINE_S3__REGION": "us-east-1",
        "SIGHTLINE_INGEST__BUCKETS": f"{bucket},missing",
        "SIGHTLINE_ORIGINALS__BUCKETS": "1",
    }
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket="forbidden")
    opened: list[str] = []

    def open_bucket(name: str, _: object) -> S3Store:
        opened.append(name)
        return s3_of(name, endpoint)

    async with KnownStores(load_settings(environment), open_bucket=open_bucket) as stores:
        for _ in range(3):
            async with stores.lend("s3", bucket) as store:
                assert store.bucket == bucket
        assert opened == [bucket]
        for name in ("forbidden", "missing", "missing"):
            with pytest.raises(Exception, match=name):
                async with stores.lend("s3", name):
                    pass
        assert opened == [bucket, "missing"], "what may not be read is not opened, and a failure is remembered"
        with pytest.raises(Exception, match="does not know where"):
            async with stores.lend("folder", "pictures"):
                pass
        async with stores.lend("s3", bucket) as store:
            assert store.bucket == bucket


@given(st.binary(max_size=60), st.text(alphabet="bytes=-0123456789, ", max_size=20))
@settings(deadline=None)
def test_a_range_that_is_none_is_all_and_every_other_lies_within(data: bytes, header: str) -> None:
    try:
        chosen = byte_range(header, len(data))
    except Unsatisfiable:
        assert "=" in header
        return
    if chosen is not None:
        start, length = chosen
        assert length > 0
        assert 0 <= start < start + length <= len(data)


@given(size=st.integers(1, 1000), first=st.integers(0, 1100), length=st.integers(0, 1100))
@settings(deadline=None)
def test_a_range_is_cut_at_the_end(size: int, first: int, length: int) -> None:
    header = f"bytes={first}-{first + length}"
    if first >= size:
        with pytest.raises(Unsatisfiable):
            byte_range(header, size)
        return
    assert byte_range(header, size) == (first, min(length + 1, size - first))
    assert byte_range(f"bytes={first}-", size) == (first, size - first)
    if length:
        assert byte_range(f"bytes=-{length}", size) == (max(0, size - length), min(size, length))


@pytest.mark.parametrize(
    "header", [None, "", "bytes", "bytes=-", "bytes=5-3", "bytes=0-1,5-6", "lines=0-1", "bytes=x-y"]
)
def test_odd_ranges_are_answered_with_everything(header: str | None) -> None:
    assert byte_range(header, 10) is None


def test_entity_tags_are_compared_one_by_one() -> None:
    assert has_already('"a", "b"', '"b"')
    assert has_already("*", '"b"')
    assert not has_already('"bb"', '"b"')
    assert not has_already(None, '"b"')
