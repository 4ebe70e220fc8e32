"""What every object store must do, on a folder, on moto, and on the server that SIGHTLINE_TEST_S3_ENDPOINT names.

For the last, credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import asyncio
import itertools
import os
import shutil
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.folder import FolderClock, FolderStore
from stores.objects import Found, ListedObject, Missing, OriginalStore, Oversized, Seen
from stores.s3 import S3Store

MAX_BYTES = 1_000_000
_names = itertools.count()

ACCENT = "caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg"
KEYS_FOR_ALL = [
    "plain.jpg",
    "with space.jpg",
    "a+b.jpg",
    "a%2Bb.jpg",
    "100%.jpg",
    "a%20b.jpg",
    "what?.jpg",
    "hash#1.jpg",
    "a&b=c;d,e.jpg",
    "quote'\"<x>.jpg",
    "back\\slash.jpg",
    "{curly}[square]~^|`.jpg",
    unicodedata.normalize("NFC", ACCENT),
    unicodedata.normalize("NFD", ACCENT),
    "\N{CAMERA}/\N{FAMILY}.jpg",
    "\N{CJK UNIFIED IDEOGRAPH-7167}\N{CJK UNIFIED IDEOGRAPH-7247}",
    "deep/" * 20 + "a.jpg",
    "/".join(["s" * 99] * 9),
    "a.jpg/is-a-folder.png",
    " leading and trailing space ",
    ".hidden",
]
KEYS_FOR_S3 = ["a//b.jpg", "/leading.jpg", "//", "//x", "k" * 900, "a/b", "a", "a/b/"]


class Bucket(Protocol):
    """A bucket that a test writes to behind the store's back."""

    def store(self, *, max_bytes: int = MAX_BYTES) -> OriginalStore: ...
    def put(self, key: str, data: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def vanish(self) -> None: ...


class Folder:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def store(self, *, max_bytes: int = MAX_BYTES) -> FolderStore:
        return FolderStore(self.root, max_bytes=max_bytes, clock=FolderClock(0))

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        (self.root / key).unlink()

    def vanish(self) -> None:
        shutil.rmtree(self.root)


class S3Bucket:
    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.name = f"contract-{os.getpid()}-{next(_names)}"
        self.client = s3_client(endpoint, paging=False)
        self.client.create_bucket(Bucket=self.name)

    def store(self, *, max_bytes: int = MAX_BYTES) -> S3Store:
        client = s3_client(self.endpoint, paging=True)
        return S3Store(self.name, max_bytes=max_bytes, client=client, max_connections=8)

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def vanish(self) -> None:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for entry in page.get("Contents", []):
                self.delete(entry["Key"])
        self.client.delete_bucket(Bucket=self.name)


@lru_cache
def s3_client(endpoint: str, *, paging: bool) -> Any:
    """A client; with `paging` its listings come in pages of seven, so that they go over several."""
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, signature_version="s3v4")
    client = boto3.session.Session().client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)
    if paging:
        client.meta.events.register("provide-client-params.s3.ListObjectsV2", _seven)
    return client


def _seven(params: dict[str, Any], **_: object) -> None:
    params.setdefault("MaxKeys", 7)


@pytest.fixture(scope="module")
def moto_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


REAL_SERVER = os.environ.get("SIGHTLINE_TEST_S3_ENDPOINT")
S3_SERVERS = ["moto", *(["server"] if REAL_SERVER else [])]


@pytest.fixture(params=["folder", *S3_SERVERS])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    if request.param == "folder":
        yield Folder(tmp_path / "pictures")
        return
    endpoint = REAL_SERVER
    if request.param == "moto":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        endpoint = request.getfixturevalue("moto_endpoint")
    made = S3Bucket(str(endpoint))
    yield made
    with suppress(ClientError):  # the test made it vanish
        made.vanish()


@pytest.fixture
async def store(bucket: Bucket) -> AsyncIterator[OriginalStore]:
    async with bucket.store() as entered:
        yield entered


async def listed(store: OriginalStore, prefix: str = "") -> list[ListedObject]:
    return [entry async for entry in store.list(prefix)]


async def test_a_look_gives_bytes_and_facts_that_agree_with_the_listing(bucket: Bucket, store: OriginalStore) -> None:
    before = time.time()
    bucket.put("a/b.jpg", b"bytes")
    look = await store.look("a/b.jpg")
    (entry,) = await listed(store)
    assert isinstance(look, Found)
    assert look.data == b"bytes"
    assert (look.facts.etag, look.facts.size) == (entry.etag, entry.size)
    assert abs((look.facts.modified_at - entry.modified_at).total_seconds()) < 1.001
    assert before - 2 <= look.date_ms / 1000 <= time.time() + 2
    assert abs(look.facts.modified_at.timestamp() - before) < 5
    assert entry.key == "a/b.jpg"
    assert '"' not in entry.etag


async def test_an_empty_object_is_found_with_no_bytes(bucket: Bucket, store: OriginalStore) -> None:
    bucket.put("empty.jpg", b"")
    look = await store.look("empty.jpg")
    assert isinstance(look, Found)
    assert (look.data, look.facts.size) == (b"", 0)


async def test_an_overwrite_shows_at_once_by_a_new_etag(bucket: Bucket, store: OriginalStore) -> None:
    bucket.put("a.jpg", b"first")
    first = await store.look("a.jpg")
    bucket.put("a.jpg", b"second")
    second = await store.look("a.jpg")
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert second.data == b"second"
    assert second.facts.etag != first.facts.etag
    assert second.date_ms >= first.date_ms


async def test_a_look_tells_of_every_byte_as_it_comes(bucket: Bucket) -> None:
    data = bytes(n % 251 for n in range(3_000_000))
    bucket.put("large.jpg", data)
    flowed: list[int] = []
    async with bucket.store(max_bytes=len(data)) as store:
        look = await store.look("large.jpg", flowed=flowed.append)
    assert isinstance(look, Found)
    assert look.data == data
    assert sum(flowed) == len(data)
    assert len(flowed) > 1


async def test_a_deleted_object_is_missing_and_its_neighbour_is_not(bucket: Bucket, store: OriginalStore) -> None:
    bucket.put("f/a.jpg", b"1")
    bucket.put("f/b.jpg", b"1")
    bucket.delete("f/a.jpg")
    look = await store.look("f/a.jpg")
    assert isinstance(look, Missing)
    assert abs(look.date_ms / 1000 - time.time()) < 3
    assert isinstance(await store.look("f/b.jpg"), Found)


@pytest.mark.parametrize("key", ["never.jpg", "never/was/a.jpg", "f", "f/a.jpg/below-a-file.jpg", "f/A.JPG"])
async def test_what_never_existed_is_missing(bucket: Bucket, store: OriginalStore, key: str) -> None:
    bucket.put("f/a.jpg", b"1")
    assert isinstance(await store.look(key), Missing)


@pytest.mark.parametrize("data", [b"", b"1", b"x" * 5000])
async def test_a_glance_says_what_a_look_says_without_the_bytes(
    bucket: Bucket, store: OriginalStore, data: bytes
) -> None:
    bucket.put("f/a b+c.jpg", data)
    look, glance = await store.look("f/a b+c.jpg"), await store.glance("f/a b+c.jpg")
    assert isinstance(look, Found)
    assert isinstance(glance, Seen)
    assert glance.facts == look.facts
    assert isinstance(await store.glance("f/nothing.jpg"), Missing)
    bucket.delete("f/a b+c.jpg")
    assert isinstance(await store.glance("f/a b+c.jpg"), Missing)


async def test_parts_make_up_the_whole_and_end_with_it(bucket: Bucket, store: OriginalStore) -> None:
    data = bytes(n % 251 for n in range(10_000))
    bucket.put("a.jpg", data)
    glance = await store.glance("a.jpg")
    assert isinstance(glance, Seen)
    etag = glance.facts.etag
    for start, length in ((0, 10_000), (0, 1), (9_999, 1), (9_999, 50), (4_000, 1_001), (17, 0)):
        part = await store.part("a.jpg", etag=etag, start=start, length=length)
        assert part == data[start : start + length], (start, length)


async def test_no_part_of_an_object_that_is_another_by_now(bucket: Bucket, store: OriginalStore) -> None:
    bucket.put("a.jpg", b"first")
    glance = await store.glance("a.jpg")
    assert isinstance(glance, Seen)
    bucket.put("a.jpg", b"other")
    assert await store.part("a.jpg", etag=glance.facts.etag, start=0, length=5) is None
    bucket.delete("a.jpg")
    assert await store.part("a.jpg", etag=glance.facts.etag, start=0, length=5) is None


async def test_a_glance_at_a_bucket_that_is_gone_proves_nothing(bucket: Bucket) -> None:
    bucket.put("a.jpg", b"1")
    async with bucket.store() as store:
        bucket.vanish()
        with pytest.raises(DependencyUnavailable) as gone:
            await store.glance("a.jpg")
        assert gone.value.remedy
        with pytest.raises(DependencyUnavailable):
            await store.part("a.jpg", etag="1", start=0, length=1)


async def test_a_link_is_for_stores_with_addresses_and_says_what_the_browser_may_do(
    bucket: Bucket, store: OriginalStore
) -> None:
    key, disposition = "f/a b+\N{CAMERA}.jpg", 'attachment; filename="x.jpg"'
    bucket.put(key, b"bytes")
    link = await store.link(key, seconds=60, content_type="image/jpeg", disposition=disposition)
    if store.source == "folder":
        assert link is None
        return
    assert link is not None
    answer = await asyncio.to_thread(httpx.get, link)
    assert answer.content == b"bytes"
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == disposition
    assert "X-Amz-Expires=60" in link


async def test_a_larger_object_than_allowed_is_oversized_and_one_that_just_fits_is_read(bucket: Bucket) -> None:
    bucket.put("large.jpg", b"x" * 1001)
    bucket.put("fits.jpg", b"x" * 1000)
    async with bucket.store(max_bytes=1000) as store:
        large, fits = await store.look("large.jpg"), await store.look("fits.jpg")
        assert isinstance(large, Oversized)
        assert (large.facts.size, large.limit) == (1001, 1000)
        assert isinstance(fits, Found)
        assert len(fits.data) == 1000


async def test_odd_keys_are_listed_as_they_are_and_found_by_what_was_listed(
    bucket: Bucket, store: OriginalStore
) -> None:
    keys = KEYS_FOR_ALL
    for n, key in enumerate(keys):
        bucket.put(key, str(n).encode())
    entries = await listed(store)
    assert sorted(entry.key for entry in entries) == sorted(keys)
    for n, key in enumerate(keys):
        look = await store.look(key)
        assert isinstance(look, Found), key
        assert look.data == str(n).encode(), key


async def test_keys_are_listed_in_the_order_of_their_utf8_bytes(bucket: Bucket, store: OriginalStore) -> None:
    keys = ["a/b.jpg", "a.jpg", "a-b.jpg", "a/b/c.jpg", "a b.jpg", "a0.jpg", "B.jpg", "\N{CAMERA}.jpg", "\uffee.jpg"]
    for key in keys:
        bucket.put(key, b"1")
    assert [entry.key for entry in await listed(store)] == sorted(keys, key=str.encode)


@pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "a/b/", "a b", "zzz", "a/b/c.jpg", "a/b/c.jpg/"])
async def test_a_prefix_lists_what_starts_with_it_whatever_the_slashes(
    bucket: Bucket, store: OriginalStore, prefix: str
) -> None:
    keys = ["a.jpg", "a/b.jpg", "a/b/c.jpg", "a/bb/d.jpg", "a b/e.jpg", "b/a.jpg"]
    for key in keys:
        bucket.put(key, b"1")
    found = [entry.key for entry in await listed(store, prefix)]
    assert found == sorted(key for key in keys if key.startswith(prefix))


async def test_an_empty_bucket_lists_nothing(store: OriginalStore) -> None:
    assert await listed(store) == []


async def test_a_listing_that_is_left_early_does_no_harm(bucket: Bucket, store: OriginalStore) -> None:
    for n in range(20):
        bucket.put(f"{n}.jpg", b"1")
    async for _ in store.list():
        break
    assert len(await listed(store)) == 20


async def test_many_looks_at_once_each_give_their_own_object(bucket: Bucket, store: OriginalStore) -> None:
    for n in range(30):
        bucket.put(f"{n}.jpg", str(n).encode())
    looks = await asyncio.gather(*(store.look(f"{n}.jpg") for n in range(30)))
    assert [look.data for look in looks if isinstance(look, Found)] == [str(n).encode() for n in range(30)]


async def test_a_bucket_that_is_gone_is_no_proof_that_its_objects_are(bucket: Bucket) -> None:
    bucket.put("a.jpg", b"1")
    async with bucket.store() as store:
        bucket.vanish()
        with pytest.raises(DependencyUnavailable) as gone:
            await store.look("a.jpg")
        assert gone.value.dependency == store.source
        assert gone.value.remedy
        with pytest.raises(DependencyUnavailable):
            await listed(store)


async def test_a_bucket_that_was_never_there_cannot_be_opened(bucket: Bucket) -> None:
    store = bucket.store()
    bucket.vanish()
    with pytest.raises(ConfigurationError, match=store.bucket):
        await store.__aenter__()


@pytest.mark.parametrize("bucket", S3_SERVERS, indirect=True)
async def test_s3_keys_that_are_no_paths_are_listed_and_found_as_they_are(bucket: S3Bucket) -> None:
    accepted = []
    for key in KEYS_FOR_S3:
        try:
            bucket.put(key, key.encode())
            accepted.append(key)
        except ClientError:  # a server over a file system cannot have them all
            continue
    stored = {
        entry["Key"]
        for page in bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
        for entry in page.get("Contents", [])
    }
    assert accepted
    async with bucket.store() as store:
        assert {entry.key for entry in await listed(store)} == {key for key in stored if not key.endswith("/")}
        for key in accepted:
            look = await store.look(key)
            assert isinstance(look, Found), key
            assert look.data == key.encode()
