"""A bucket behind the S3 API as an object store, by boto3 in threads of its own.

One look is one GetObject: bytes, ETag and Date come from that one answer.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, IncompleteReadError

from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.etag_check import EtagCheck
from stores.objects import Flowed, Found, Glance, ListedObject, Look, Missing, Oversized, Seen
from stores.reading import whole
from stores.s3_answers import announced, bare, date_ms, facts_of, is_archived
from stores.s3_errors import (
    CUT_SHORT,
    UNREADABLE,
    BucketMissing,
    at_start,
    is_gone,
    status_of,
    while_running,
)
from stores.s3_unreadable import UnreadableWarnings, unreadable_remedy
from stores.threads import DaemonThreads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["BucketMissing", "S3Store"]

P = ParamSpec("P")
T = TypeVar("T")

READ_TRIES = 2
"""How often an object whose body ends early is fetched again within one look."""
CHUNK_BYTES = 64 * 1024
"""A body is read in pieces of so much: at 1 kB/s one comes every minute, so that the look is seen to move."""


class S3Store:
    """An `ObjectStore` over one bucket. Credentials come from boto3's own chain.

    `endpoint_url` None means AWS. Timeouts are seconds, of each connection and of each wait for data;
    botocore itself tries twice, since the worker backs off and tries again anyway. `max_connections`
    is also the number of looks under way at once. `max_bytes` is the largest object that is read.
    `now` gives Unix seconds of our own clock; `client` replaces the boto3 client that would be made.
    """

    source = "s3"

    def __init__(
        self,
        bucket: str,
        *,
        max_bytes: int,
        endpoint_url: str | None = None,
        region: str | None = None,
        addressing_style: Literal["auto", "path", "virtual"] = "auto",
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_connections: int = 64,
        client: "S3Client | None" = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.bucket = bucket
        self._endpoint_url = endpoint_url
        self._region = region
        self._config = Config(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_pool_connections=max_connections,
            retries={"mode": "standard", "total_max_attempts": 2},
            s3={"addressing_style": addressing_style},
            # Links are signed with the older scheme otherwise, in some regions, which many stores no longer take.
            signature_version="s3v4",
        )
        self._max_bytes = max_bytes
        self._given = client
        self._client: S3Client | None = client
        self._now = now
        self._threads = DaemonThreads(max_connections, "s3")
        self._unreadable = UnreadableWarnings(bucket)

    @property
    def _where(self) -> str:
        return f"s3://{self.bucket} at {self._endpoint_url or 'AWS'}"

    async def __aenter__(self) -> Self:
        """Connect, and list one key: it needs the same rights as the proof that an object is gone.

        Raises `BucketMissing` when the store says that there is no such bucket; `ConfigurationError` for
        missing or wrong credentials, a bucket that may not be listed and an impossible endpoint;
        `DependencyUnavailable` when nothing answers.
        """
        try:
            await self._run(self._connect)
        except BaseException:
            # Whoever waits for a store makes another of these for each attempt.
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections and end the threads, without waiting for a store that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None and self._given is None:
            self._client.close()

    async def look(self, key: str, *, flowed: Flowed = lambda count: None) -> Look:
        """The object as it is now. Raises `DependencyUnavailable`.

        `Missing` is NoSuchKey, a delete marker, a key that no object can have, or an object that nobody can
        read: archived, or encrypted with a key that cannot be had. A warning says so now and then.
        """
        return await self._run(self._look, key, flowed)

    async def glance(self, key: str) -> Glance:
        """What the store says of the object now, by its first byte: HEAD could not prove that an object is gone.

        Raises `DependencyUnavailable`.
        """
        return await self._run(self._glance, key)

    async def part(self, key: str, *, etag: str, start: int, length: int) -> bytes | None:
        """Bytes of the object while it has this ETag, else None. Raises `DependencyUnavailable`."""
        return await self._run(self._part, key, etag, start, length)

    async def link(self, key: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """A presigned address. Raises `DependencyUnavailable` without usable credentials."""
        return await self._run(self._link, key, seconds, content_type, disposition)

    async def list(self, prefix: str = "") -> AsyncIterator[ListedObject]:
        """Every readable object whose key starts with `prefix`; keys that end in "/" (folder markers) are left out.

        Raises `DependencyUnavailable` when a page cannot be had, and `ConfigurationError` when the
        store's ETags are empty or all the same.
        """
        etags = EtagCheck(self._where)
        token = ""
        while True:
            page = await self._run(self._page, prefix, token)
            if "IsTruncated" not in page:
                raise DependencyUnavailable(
                    "s3",
                    f"{self._where}: the answer to a listing is none",
                    "Correct SIGHTLINE_S3__ENDPOINT_URL: something else answers there, perhaps a proxy's login page",
                )
            for entry in page.get("Contents", []):
                if not entry["Key"].endswith("/") and not is_archived(entry):
                    etag = bare(entry.get("ETag", ""))
                    etags.see(entry["Key"], etag, entry["Size"])
                    yield ListedObject(entry["Key"], etag, entry["Size"], entry["LastModified"])
            if not page["IsTruncated"]:
                return
            following = page.get("NextContinuationToken", "")
            if following in ("", token):
                raise DependencyUnavailable(
                    "s3",
                    f"{self._where}: the listing says that it goes on, but not where",
                    "The store's ListObjectsV2 is faulty; upgrade it",
                )
            token = following

    def _connect(self) -> None:
        try:
            if self._client is None:
                session = boto3.session.Session()
                self._client = session.client(
                    "s3", endpoint_url=self._endpoint_url, region_name=self._region, config=self._config
                )
            answer = self._client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)
        except (*UNREADABLE, ValueError) as error:
            raise at_start(self._where, error) from error
        if "IsTruncated" not in answer:
            raise ConfigurationError(
                f"{self._where} is no S3: something else answers there; correct SIGHTLINE_S3__ENDPOINT_URL"
            )

    def _page(self, prefix: str, token: str) -> dict[str, Any]:
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        try:
            # botocore asks for url-encoded keys by itself, and decodes them where the answer says that they are.
            return dict(
                self._connected().list_objects_v2(
                    Bucket=self.bucket, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"], **more
                )
            )
        except UNREADABLE as error:
            raise while_running(f"listing {self._where}", error) from error

    def _look(self, key: str, flowed: Flowed) -> Look:
        tries = READ_TRIES
        while True:
            tries -= 1
            try:
                return self._get(key, flowed)
            except UNREADABLE as error:
                if (missing := self._missing(key, error)) is not None:
                    return missing
                if not (isinstance(error, CUT_SHORT) and tries):
                    raise while_running(f"reading s3://{self.bucket}/{key}", error) from error

    def _get(self, key: str, flowed: Flowed) -> Look:
        answer = self._connected().get_object(Bucket=self.bucket, Key=key)
        body = answer["Body"]
        try:
            date = self._date(key, answer["ResponseMetadata"]["HTTPHeaders"])
            etag, size = announced(f"s3://{self.bucket}/{key}", answer)
            facts = facts_of(answer, etag, size, date)
            if facts.size > self._max_bytes:
                return Oversized(facts, date, self._max_bytes)
            data = whole(body.iter_chunks(CHUNK_BYTES), flowed)
            if len(data) != facts.size:
                raise IncompleteReadError(actual_bytes=len(data), expected_bytes=facts.size)
            return Found(facts, date, data)
        finally:
            body.close()

    def _glance(self, key: str) -> Glance:
        what = f"looking at s3://{self.bucket}/{key}"
        try:
            try:
                answer = self._connected().get_object(Bucket=self.bucket, Key=key, Range="bytes=0-0")
            except ClientError as error:
                if status_of(error) != 416:
                    raise
                answer = self._connected().get_object(Bucket=self.bucket, Key=key)  # it is empty
        except UNREADABLE as error:
            if (missing := self._missing(key, error)) is not None:
                return missing
            raise while_running(what, error) from error
        answer["Body"].close()
        date = self._date(key, answer["ResponseMetadata"]["HTTPHeaders"])
        full = answer.get("ContentRange", "").rpartition("/")[2]
        size = int(full) if full.isdigit() else answer["ContentLength"]
        return Seen(facts_of(answer, bare(answer.get("ETag", "")) or "none", size, date), date)

    def _missing(self, key: str, error: Exception) -> Missing | None:
        """What the error proves of the object: that it is gone, or that nobody can read it. None: nothing."""
        if not isinstance(error, ClientError):
            return None
        remedy = unreadable_remedy(error)
        if remedy is None and not is_gone(error):
            return None
        missing = Missing(self._date(key, error.response["ResponseMetadata"]["HTTPHeaders"]))
        if remedy is not None:
            self._unreadable.warn(key, error, remedy)
        return missing

    def _part(self, key: str, etag: str, start: int, length: int) -> bytes | None:
        if length <= 0:
            return b""
        try:
            answer = self._connected().get_object(
                Bucket=self.bucket, Key=key, IfMatch=f'"{etag}"', Range=f"bytes={start}-{start + length - 1}"
            )
            with answer["Body"] as body:
                # A store that knows no ranges sends everything.
                skipped = 0 if "ContentRange" in answer else start
                body.read(skipped)
                data = body.read(length)
        except UNREADABLE as error:
            if isinstance(error, ClientError) and (
                is_gone(error) or unreadable_remedy(error) or status_of(error) in (412, 416)
            ):
                return None
            raise while_running(f"reading s3://{self.bucket}/{key}", error) from error
        return data if bare(answer.get("ETag", "")) == etag else None

    def _link(self, key: str, seconds: int, content_type: str, disposition: str) -> str:
        try:
            return self._connected().generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.bucket,
                    "Key": key,
                    "ResponseContentType": content_type,
                    "ResponseContentDisposition": disposition,
                    "ResponseCacheControl": "private, no-cache",
                },
                ExpiresIn=seconds,
            )
        except UNREADABLE as error:
            raise while_running(f"making a link to s3://{self.bucket}/{key}", error) from error

    def _date(self, key: str, headers: Mapping[str, str]) -> int:
        return date_ms(f"s3://{self.bucket}/{key}", headers, now=self._now())

    def _connected(self) -> "S3Client":
        if self._client is None:
            raise RuntimeError("enter the store before using it")
        return self._client

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
