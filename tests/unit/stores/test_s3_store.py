"""The S3 store against answers that no well-behaved server gives, from a small server that says what a test wants."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError

from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.etag_check import CONSTANT_ETAG_SIZES
from stores.objects import Found, ListedObject, Missing, Oversized
from stores.s3 import CHUNK_BYTES, BucketMissing, S3Store
from stores.s3_unreadable import WARNING_SECONDS, UnreadableWarnings
from stores.threads import IDLE_SECONDS

SSE_C = (
    "The object was stored using a form of Server Side Encryption. "
    "The correct parameters must be provided to retrieve the object."
)
EMPTY_LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Gives the scripted answer; by default an object of five bytes."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.answer(self)

    def reply(self, status: int, body: bytes, **headers: str | None) -> None:
        self.send_response_only(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        base = {"Date": formatdate(usegmt=True), "Content-Length": str(len(body))}
        for name, value in (base | given).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(body)
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Answer = found()
        self.requests: list[str] = []
        self.release = threading.Event()
        """Set when the test ends: a stalled answer may go on."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def found(body: bytes = b"bytes", **headers: str | None) -> Answer:
    given = {"ETag": '"abc"', "Last_Modified": formatdate(usegmt=True), "Content_Type": "image/jpeg"} | headers
    return lambda handler: handler.reply(200, body, **given)


def refused(status: int, code: str, message: str = "because", **headers: str | None) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode() if code else b""
    return lambda handler: handler.reply(status, body, **headers)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


def a_store(endpoint: str, **options: Any) -> S3Store:
    settings: dict[str, Any] = {
        "endpoint_url": endpoint,
        "region": "us-east-1",
        "addressing_style": "path",
        "connect_timeout": 1.0,
        "read_timeout": 0.5,
        "max_connections": 4,
        "max_bytes": 1000,
    }
    return S3Store("bucket", **(settings | options))


@pytest.fixture
async def store(server: Server) -> AsyncIterator[S3Store]:
    server.answer = lambda handler: handler.reply(200, EMPTY_LISTING)
    async with a_store(server.url) as store:
        server.requests.clear()
        server.answer = found()
        yield store


async def test_a_look_is_one_request_and_takes_its_version_from_the_date_of_the_answer(
    server: Server, store: S3Store
) -> None:
    date = int(time.time()) - 30
    server.answer = found(Date=formatdate(date, usegmt=True))
    look = await store.look("a.jpg")
    assert isinstance(look, Found)
    assert (look.data, look.facts.etag, look.facts.content_type) == (b"bytes", "abc", "image/jpeg")
    assert look.date_ms == date * 1000
    assert look.settled
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", ["NoSuchKey", "KeyTooLongError", "XMinioInvalidObjectName"])
async def test_a_key_that_the_store_says_is_not_or_cannot_be_there_is_missing_at_the_date_of_that_answer(
    server: Server, store: S3Store, code: str
) -> None:
    date = int(time.time()) - 20
    server.answer = refused(404 if code == "NoSuchKey" else 400, code, Date=formatdate(date, usegmt=True))
    look = await store.look("a.jpg")
    assert look == Missing(date * 1000)


async def test_a_delete_marker_is_missing(server: Server, store: S3Store) -> None:
    server.answer = refused(404, "", x_amz_delete_marker="true")
    assert isinstance(await store.look("a.jpg"), Missing)


@pytest.mark.parametrize(
    ("status", "code", "message", "remedy"),
    [
        (403, "InvalidObjectState", "The operation is not valid for the object's storage class", "restore it"),
        (400, "InvalidRequest", SSE_C, "SSE-C"),
        (400, "KMS.DisabledException", "arn:aws:kms:eu-west-1:1:key/2 is disabled.", "KMS key"),
        (400, "KMS.NotFoundException", "because", "KMS key"),
        (400, "KMS.InvalidStateException", "because", "KMS key"),
        (400, "KMS.KMSInvalidStateException", "arn:aws:kms:eu-west-1:1:key/2 is pending deletion.", "KMS key"),
        (400, "KMS.InvalidKeyUsageException", "because", "KMS key"),
    ],
)
async def test_an_object_that_nobody_can_read_is_missing_until_somebody_opens_it_again(
    server: Server, store: S3Store, caplog: pytest.LogCaptureFixture, status: int, code: str, message: str, remedy: str
) -> None:
    date = int(time.time()) - 20
    server.answer = refused(status, code, message, Date=formatdate(date, usegmt=True))
    assert await store.look("a.jpg") == Missing(date * 1000)
    assert await store.glance("a.jpg") == Missing(date * 1000)
    assert await store.part("a.jpg", etag="abc", start=0, length=1) is None
    (said,) = caplog.messages
    assert all(part in said for part in ("s3://bucket/a.jpg", code, message, remedy))


def test_a_bucket_of_objects_that_nobody_can_read_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    warnings = UnreadableWarnings("bucket", clock=lambda: now)
    error = ClientError({"Error": {"Code": "KMS.DisabledException"}}, "GetObject")
    for key in ("a.jpg", "b.jpg", "c.jpg"):
        warnings.warn(key, error, "enable the key")
    now += WARNING_SECONDS
    warnings.warn("d.jpg", error, "enable the key")
    first, second = caplog.messages
    assert "a.jpg" in first
    assert "d.jpg" in second
    assert "2 looks more" in second


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "AccessDenied", "s3:ListBucket"),
        (403, "", "s3:ListBucket"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", "NTP"),
        (400, "ExpiredToken", "renew"),
        (404, "NoSuchBucket", "Make the bucket|make it again"),
        (404, "", "no proof"),
        (404, "NotFound", "no proof"),
        (500, "InternalError", "overloaded"),
        (503, "SlowDown", "MAX_CONNECTIONS"),
        (502, "", "overloaded"),
        (400, "InvalidRequest", "documentation"),
        (400, "KMS.ThrottlingException", "documentation"),
        (418, "Teapot", "documentation"),
    ],
)
async def test_any_other_error_is_no_proof_and_comes_with_a_remedy_of_its_own(
    server: Server, store: S3Store, status: int, code: str, remedy: str
) -> None:
    server.answer = refused(status, code)
    with pytest.raises(DependencyUnavailable, match=remedy) as error:
        await store.look("a.jpg")
    assert error.value.dependency == "s3"
    assert "s3://bucket/a.jpg" in error.value.detail
    with pytest.raises(DependencyUnavailable, match=remedy):
        await listed(store)


@pytest.mark.parametrize("missing", [False, True], ids=["found", "missing"])
@pytest.mark.parametrize(
    ("date", "said"),
    [
        (formatdate(time.time() - 3600, usegmt=True), "ours"),
        (formatdate(time.time() + 3600, usegmt=True), "ours"),
        ("yesterday", "yesterday"),
        (None, "no Date"),
    ],
    ids=["an hour ago", "in an hour", "no date at all", "none"],
)
async def test_a_date_that_is_missing_or_far_from_ours_is_no_answer(
    server: Server, store: S3Store, date: str | None, said: str, missing: bool
) -> None:
    server.answer = refused(404, "NoSuchKey", Date=date) if missing else found(Date=date)
    with pytest.raises(DependencyUnavailable, match=said):
        await store.look("a.jpg")


async def test_both_clocks_are_said_and_ours_may_be_the_wrong_one(server: Server) -> None:
    server.answer = lambda handler: handler.reply(200, EMPTY_LISTING)
    async with a_store(server.url, now=lambda: 0.0) as store:
        server.answer = found(Date="Wed, 21 Oct 2015 07:28:00 GMT")
        with pytest.raises(DependencyUnavailable, match=r"2015-10-21T07:28:00.*1970-01-01T00:00:00"):
            await store.look("a.jpg")


async def test_a_body_that_ends_early_is_fetched_again(server: Server, store: S3Store) -> None:
    def cut_once(handler: Handler) -> None:
        if len(server.requests) == 1:
            cut(handler)
        else:
            found()(handler)

    server.answer = cut_once
    look = await store.look("a.jpg")
    assert isinstance(look, Found)
    assert look.data == b"bytes"
    assert len(server.requests) == 2


def cut(handler: Handler) -> None:
    handler.close_connection = True
    handler.reply(200, b"byt", Content_Length="5", ETag='"abc"', Last_Modified=formatdate(usegmt=True))


async def test_a_body_that_always_ends_early_is_no_answer(server: Server, store: S3Store) -> None:
    server.answer = cut
    with pytest.raises(DependencyUnavailable, match="cut connections"):
        await store.look("a.jpg")


async def test_a_body_that_stalls_is_no_answer_and_does_not_wait_for_ever(server: Server, store: S3Store) -> None:
    def stall(handler: Handler) -> None:
        handler.close_connection = True
        handler.reply(200, b"byt", Content_Length="5", ETag='"abc"', Last_Modified=formatdate(usegmt=True))
        server.release.wait(10)

    server.answer = stall
    started = time.monotonic()
    with pytest.raises(DependencyUnavailable, match="READ_TIMEOUT"):
        await store.look("a.jpg")
    assert time.monotonic() - started < 8


async def test_a_slow_body_that_keeps_coming_is_read_to_its_end(server: Server, store: S3Store) -> None:
    def drip(handler: Handler) -> None:
        handler.reply(200, b"b", Content_Length="5", ETag='"abc"', Last_Modified=formatdate(usegmt=True))
        for byte in b"ytes":
            time.sleep(0.2)
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()

    server.answer = drip
    look = await store.look("a.jpg")
    assert isinstance(look, Found)
    assert look.data == b"bytes"


async def test_what_came_of_a_body_is_told_while_the_rest_is_awaited(server: Server) -> None:
    data, told = bytes(3 * CHUNK_BYTES), threading.Event()

    def pause_after_the_first_piece(handler: Handler) -> None:
        headers = {"ETag": '"abc"', "Last_Modified": formatdate(usegmt=True), "Content_Length": str(len(data))}
        handler.reply(200, data[:CHUNK_BYTES], **headers)
        if told.wait(10):
            handler.wfile.write(data[CHUNK_BYTES:])

    server.answer = lambda handler: handler.reply(200, EMPTY_LISTING)
    async with a_store(server.url, max_bytes=len(data), read_timeout=5.0) as store:
        server.answer = pause_after_the_first_piece
        look = await store.look("a.jpg", flowed=lambda count: told.set())
    assert isinstance(look, Found)
    assert look.data == data


async def test_a_body_without_a_length_is_no_answer(server: Server, store: S3Store) -> None:
    def unannounced(handler: Handler) -> None:
        handler.close_connection = True
        found(Content_Length=None)(handler)

    server.answer = unannounced
    with pytest.raises(DependencyUnavailable, match="Content-Length"):
        await store.look("a.jpg")


async def test_a_body_other_than_its_checksum_is_no_answer(server: Server, store: S3Store) -> None:
    server.answer = found(x_amz_checksum_crc32="AAAAAA==")
    with pytest.raises(DependencyUnavailable, match="not the one that was announced"):
        await store.look("a.jpg")


async def test_an_object_without_an_etag_is_no_answer(server: Server, store: S3Store) -> None:
    server.answer = found(ETag=None)
    with pytest.raises(DependencyUnavailable, match="ETag"):
        await store.look("a.jpg")


async def test_an_oversized_object_is_not_read(server: Server, store: S3Store) -> None:
    # Only the announcement: reading would stall until the read timeout, and fail.
    def announce(handler: Handler) -> None:
        handler.close_connection = True
        handler.reply(200, b"", Content_Length=str(10**12), ETag='"abc"', Last_Modified=formatdate(usegmt=True))
        server.release.wait(10)

    server.answer = announce
    look = await store.look("a.jpg")
    assert isinstance(look, Oversized)
    assert (look.facts.size, look.limit) == (10**12, 1000)


async def test_a_refused_connection_is_no_answer(server: Server, store: S3Store) -> None:
    def hang_up(handler: Handler) -> None:
        handler.close_connection = True
        handler.connection.close()

    server.answer = hang_up
    with pytest.raises(DependencyUnavailable, match="connection"):
        await store.look("a.jpg")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"not xml at all", b"<ListBucketResult>"])
async def test_something_that_is_no_s3_is_never_an_empty_bucket(server: Server, store: S3Store, body: bytes) -> None:
    server.answer = lambda handler: handler.reply(200, body)
    with pytest.raises(DependencyUnavailable):
        await listed(store)


def page(*entries: str, more: str = "<IsTruncated>false</IsTruncated>", encoded: bool = True) -> Answer:
    coding = "<EncodingType>url</EncodingType>" if encoded else ""
    body = f"<ListBucketResult>{coding}{more}{''.join(entries)}</ListBucketResult>"
    return lambda handler: handler.reply(200, body.encode())


def entry(key: str, etag: str = "&quot;e&quot;", size: int = 1, extra: str = "") -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00Z</LastModified>"
        f"<ETag>{etag}</ETag><Size>{size}</Size>{extra}</Contents>"
    )


async def listed(store: S3Store) -> list[ListedObject]:
    return [one async for one in store.list()]


async def test_listed_keys_are_decoded_once_where_the_answer_says_that_they_are_encoded(
    server: Server, store: S3Store
) -> None:
    server.answer = page(entry("a%2Bb+c%252B"), entry("folder%2F"), entry("f%C3%A9"))
    assert [one.key for one in await listed(store)] == ["a+b c%2B", "f\N{LATIN SMALL LETTER E WITH ACUTE}"]
    assert "encoding-type=url" in server.requests[-1]
    server.answer = page(entry("a%2Bb+c"), encoded=False)
    assert [one.key for one in await listed(store)] == ["a%2Bb+c"]


async def test_archived_objects_are_left_out_until_they_are_restored(server: Server, store: S3Store) -> None:
    archive = "<StorageClass>DEEP_ARCHIVE</StorageClass>"
    restored = "<RestoreStatus><RestoreExpiryDate>2030-01-01T00:00:00Z</RestoreExpiryDate></RestoreStatus>"
    server.answer = page(
        entry("archived.jpg", extra=archive),
        entry("restored.jpg", extra=archive + restored),
        entry("cold.jpg", extra="<StorageClass>GLACIER_IR</StorageClass>"),
    )
    assert [one.key for one in await listed(store)] == ["restored.jpg", "cold.jpg"]


@pytest.mark.parametrize("token", ["", "<NextContinuationToken>same</NextContinuationToken>"])
async def test_a_listing_that_cannot_go_on_is_not_taken_for_complete(
    server: Server, store: S3Store, token: str
) -> None:
    server.answer = page(entry("a.jpg"), more=f"<IsTruncated>true</IsTruncated>{token}")
    with pytest.raises(DependencyUnavailable, match="goes on"):
        await listed(store)


@pytest.mark.parametrize("etag", ["", "&quot;&quot;"])
async def test_a_store_without_etags_is_refused(server: Server, store: S3Store, etag: str) -> None:
    server.answer = page(entry("a.jpg", etag))
    with pytest.raises(ConfigurationError, match=r"a\.jpg without an ETag"):
        await listed(store)


async def test_a_store_whose_etags_are_all_the_same_is_refused(server: Server, store: S3Store) -> None:
    sizes = range(CONSTANT_ETAG_SIZES)
    server.answer = page(*(entry(f"{n}.jpg", size=n) for n in sizes))
    with pytest.raises(ConfigurationError, match="same ETag"):
        await listed(store)


async def test_equal_objects_may_share_an_etag(server: Server, store: S3Store) -> None:
    same = [entry(f"{n}.jpg", size=7) for n in range(50)]
    server.answer = page(*same)
    assert len(await listed(store)) == 50
    varied = [entry("other.jpg", "&quot;f&quot;"), *(entry(f"{n}.jpg", size=n) for n in range(50))]
    server.answer = page(*varied)
    assert len(await listed(store)) == 51


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "NoSuchBucket", "Make the bucket"),
        (403, "AccessDenied", "s3:ListBucket"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (400, "AuthorizationHeaderMalformed", "SIGHTLINE_S3__REGION"),
    ],
)
async def test_a_bucket_that_cannot_be_used_stops_the_start_with_what_to_change(
    server: Server, status: int, code: str, said: str
) -> None:
    server.answer = refused(status, code)
    with pytest.raises(ConfigurationError, match=said) as error:
        await a_store(server.url).__aenter__()
    assert "s3://bucket" in str(error.value)
    assert isinstance(error.value, BucketMissing) == (code == "NoSuchBucket")


@pytest.mark.parametrize(
    ("status", "code"), [(404, ""), (404, "NoSuchKey"), (403, "NoSuchBucket"), (301, "NoSuchBucket")]
)
async def test_only_a_404_that_says_so_proves_that_a_bucket_is_missing(server: Server, status: int, code: str) -> None:
    server.answer = refused(status, code)
    with pytest.raises(ConfigurationError) as error:
        await a_store(server.url).__aenter__()
    assert not isinstance(error.value, BucketMissing)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (403, "RequestTimeTooSkewed")])
async def test_a_store_in_trouble_is_waited_for_at_the_start(server: Server, status: int, code: str) -> None:
    server.answer = refused(status, code)
    with pytest.raises(DependencyUnavailable):
        await a_store(server.url).__aenter__()


async def test_an_endpoint_that_does_not_answer_is_waited_for(server: Server) -> None:
    unused = Server()
    unused.server_close()
    with pytest.raises(DependencyUnavailable, match="nothing answers"):
        await a_store(unused.url).__aenter__()
    # Whoever waits makes a store for each attempt, and no attempt's thread may outlast it by much.
    deadline = time.monotonic() + IDLE_SECONDS / 2
    while any(thread.name == "s3" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_something_that_is_no_s3_stops_the_start(server: Server) -> None:
    server.answer = lambda handler: handler.reply(200, b"<html>please log in</html>")
    with pytest.raises(ConfigurationError, match="no S3"):
        await a_store(server.url).__aenter__()


async def test_missing_credentials_stop_the_start(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigurationError, match="AWS_PROFILE"):
        await a_store(server.url).__aenter__()


@pytest.mark.parametrize("options", [{"endpoint_url": "no url"}, {"region": "in valid"}])
async def test_impossible_settings_stop_the_start(server: Server, options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="SIGHTLINE_S3__"):
        await a_store(server.url, **options).__aenter__()
