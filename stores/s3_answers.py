"""What the answers of S3 say: its clock, an object's facts, and whether a listed object is archived."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from schemas.errors import DependencyUnavailable
from schemas.events import ObjectFacts

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, ObjectTypeDef

MAX_CLOCK_SKEW_SECONDS = 60.0
"""Further apart than this, the store's clock and ours cannot both be right, and versions would be wrong for long."""

# Objects of these classes cannot be read before somebody restores them.
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}


def date_ms(what: str, headers: Mapping[str, str], *, now: float) -> int:
    """The store's clock in an answer about `what`, in Unix milliseconds; `now` is ours, in Unix seconds.

    Raises `DependencyUnavailable` unless it is there and the two are at most `MAX_CLOCK_SKEW_SECONDS` apart.
    """
    try:
        date = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except ValueError:
        raise DependencyUnavailable(
            "s3",
            f"{what}: the answer has no Date that can be read ({headers.get('date')!r}), while "
            f"our clock says {_clock(now)}",
            "The store, or a proxy before it, must send the Date header: versions come from it",
        ) from None
    if abs(date - now) > MAX_CLOCK_SKEW_SECONDS:
        raise DependencyUnavailable(
            "s3",
            f"{what}: the store's clock says {_clock(date)}, ours {_clock(now)}",
            "Set both by NTP; more than a minute apart would give lasting wrong versions",
        )
    return round(date * 1000)


def bare(etag: str) -> str:
    """An ETag without its quotes, and without the mark of a weak one."""
    return etag.removeprefix("W/").strip('"')


def announced(what: str, answer: "GetObjectOutputTypeDef") -> tuple[str, int]:
    """ETag and size of the object in an answer about `what`. Raises `DependencyUnavailable` where one is not there."""
    etag = bare(answer.get("ETag", ""))
    if "ContentLength" not in answer or not etag:
        raise DependencyUnavailable(
            "s3",
            f"{what}: the store's answer has no {'ETag' if not etag else 'Content-Length'}",
            "Without it nobody can tell a complete object from a cut one; check the store, and any proxy before it",
        )
    return etag, answer["ContentLength"]


def facts_of(answer: "GetObjectOutputTypeDef", etag: str, size: int, date: int) -> ObjectFacts:
    """What a GetObject said of an object; `date` is the store's clock in Unix milliseconds."""
    return ObjectFacts(
        etag=etag,
        size=size,
        content_type=answer.get("ContentType"),
        modified_at=answer.get("LastModified") or datetime.fromtimestamp(date / 1000, UTC),
    )


def is_archived(entry: "ObjectTypeDef") -> bool:
    """Whether a listing shows that nobody can read this object now. Intelligent-Tiering does not show it."""
    return entry.get("StorageClass") in _ARCHIVES and "RestoreExpiryDate" not in entry.get("RestoreStatus", {})


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
