import asyncio
from types import TracebackType
from typing import Self

import pytest

from cli import sources
from cli.sources import S3Buckets
from runtime.settings import Settings, load_settings
from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.s3 import BucketMissing


class Bucket:
    """A store whose opening ends as a test wants it."""

    opened = 0

    def __init__(self, outcome: Exception | None) -> None:
        self.outcome = outcome
        self.closed = False

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0)
        if self.outcome is not None:
            raise self.outcome
        Bucket.opened += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True


@pytest.fixture
def settings() -> Settings:
    return load_settings({})


def opening(monkeypatch: pytest.MonkeyPatch, outcome: Exception | None) -> None:
    monkeypatch.setattr(sources, "s3_store", lambda bucket, settings: Bucket(outcome))


async def test_credentials_that_expired_are_waited_for_and_reject_nothing(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    opening(monkeypatch, ConfigurationError("the credentials have expired"))
    async with S3Buckets(settings) as buckets:
        with pytest.raises(DependencyUnavailable, match="expired"):
            await buckets.store("s3", "images")


async def test_a_bucket_that_is_proved_not_to_exist_is_nobodys_outage(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    opening(monkeypatch, BucketMissing("no such bucket"))
    async with S3Buckets(settings) as buckets:
        assert await buckets.store("s3", "images") is None


async def test_a_bucket_is_opened_once_however_many_ask_at_first(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    opening(monkeypatch, None)
    Bucket.opened = 0
    async with S3Buckets(settings) as buckets:
        stores = await asyncio.gather(*(buckets.store("s3", "images") for _ in range(5)))
    assert Bucket.opened == 1
    assert len({id(store) for store in stores}) == 1


async def test_what_was_not_allowed_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opening(monkeypatch, None)
    async with S3Buckets(load_settings({"SIGHTLINE_INGEST__BUCKETS": "ours"})) as buckets:
        assert await buckets.store("s3", "theirs") is None
        assert await buckets.store("folder", "ours") is None
        assert await buckets.store("s3", "ours") is not None


async def test_an_allowed_bucket_that_cannot_be_opened_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    opening(monkeypatch, BucketMissing("no such bucket"))
    with pytest.raises(BucketMissing):
        await S3Buckets(load_settings({"SIGHTLINE_INGEST__BUCKETS": "ours"})).__aenter__()


async def test_buckets_whose_store_is_away_leave_none_open_and_can_be_opened_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [
        Bucket(None),
        Bucket(DependencyUnavailable("s3", "nothing answers", "Start it")),
        Bucket(None),
        Bucket(None),
    ]
    monkeypatch.setattr(sources, "s3_store", lambda bucket, settings: made.pop(0))
    first = made[0]
    buckets = S3Buckets(load_settings({"SIGHTLINE_INGEST__BUCKETS": "ours,theirs"}))
    with pytest.raises(DependencyUnavailable):
        await buckets.__aenter__()
    assert first.closed
    async with buckets:
        store = await buckets.store("s3", "ours")
        assert isinstance(store, Bucket)
        assert store is not first
    assert store.closed
