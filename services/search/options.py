"""Query parameters: how results are narrowed down, and pages through what is indexed.

Unknown parameters are refused rather than ignored: a mistyped filter would silently answer more than
was asked for.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from schemas.collection import Status
from schemas.events import BucketName, ObjectKey, SourceName
from services.search.problems import bad_parameter, bad_parameters
from stores.vectors import Where

_PLUS_READ_AS_SPACE = re.compile(r"(?<=\d) (?=\d\d:?\d\d$)")


def timestamp(value: object) -> datetime:
    """An ISO 8601 date or time as an aware datetime; without a zone it is UTC. Raises `ValueError`.

    A bare number is refused: 1711112400000, a day in 2024 in Unix milliseconds, reads as a day in 1711.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    text = str(value)
    # In a query string `+` stands for a space: 10:00:00+02:00 arrives as 10:00:00 02:00.
    if "T" in text.upper():
        text = _PLUS_READ_AS_SPACE.sub("+", text)
    try:
        if text.isdigit() and len(text) != len("20240515"):
            raise ValueError
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("write an ISO 8601 time, for example 2024-05-15 or 2024-05-15T14:30:00Z") from None


Timestamp = Annotated[datetime, BeforeValidator(timestamp)]


class StatusChoice(StrEnum):
    """The statuses that may be asked for: each of `Status`, or any."""

    INDEXED = Status.INDEXED.value
    REJECTED = Status.REJECTED.value
    GONE = Status.GONE.value
    ANY = "any"

    @property
    def status(self) -> Status | None:
        """The status that a point must have; None for any."""
        return None if self is StatusChoice.ANY else Status(self.value)


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scope(_Options):
    """Which objects are meant."""

    bucket: BucketName | None = Field(None, description="Only this bucket; for a folder, the folder's name.")
    prefix: ObjectKey | None = Field(
        None, description="Only keys that begin so. Case matters.", examples=["holiday/2024/"]
    )
    source: SourceName | None = Field(None, description='Only this kind of store: "s3" or "folder".', examples=["s3"])
    tag: str | None = Field(
        None, min_length=1, max_length=100, description="Only images with this tag. Case matters.", examples=["beach"]
    )
    tag_score: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="The least score of that tag; only together with `tag`."
    )

    @field_validator("tag_score")
    @classmethod
    def _of_a_tag(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("tag") is None:
            raise ValueError("name the tag too, as in tag=beach&tag_score=0.5")
        return value


class SearchOptions(Scope):
    """How a search is narrowed down. Bounds named `after` are inclusive, `before` exclusive; no zone means UTC."""

    limit: int = Field(20, ge=1, le=1000, description="At most so many results.")
    threshold: float | None = Field(
        None, ge=-1, le=1, allow_inf_nan=False, description="The least cosine similarity of a result."
    )
    taken_after: Timestamp | None = Field(
        None, description="Taken at this time or later, by the camera's clock (EXIF).", examples=["2024-05-15"]
    )
    taken_before: Timestamp | None = Field(None, description="Taken before this time, by the camera's clock (EXIF).")
    uploaded_after: Timestamp | None = Field(
        None, description="Last modified in the bucket at this time or later.", examples=["2024-05-15T14:30:00Z"]
    )
    uploaded_before: Timestamp | None = Field(None, description="Last modified in the bucket before this time.")

    def where(self, *, without: tuple[UUID, ...] = ()) -> Where:
        """The condition on points; always that they are indexed."""
        return Where(
            status=Status.INDEXED,
            source=self.source,
            bucket=self.bucket,
            prefix=self.prefix,
            tag=self.tag,
            tag_score=self.tag_score,
            taken_after=self.taken_after,
            taken_before=self.taken_before,
            uploaded_after=self.uploaded_after,
            uploaded_before=self.uploaded_before,
            without=without,
        )


class WordSearchOptions(SearchOptions):
    """A search by words in the address line."""

    q: str = Field(description="What to look for, in words.", examples=["a red bicycle in the rain"])


class ListOptions(Scope):
    """A page of images."""

    limit: int = Field(100, ge=1, le=1000, description="At most so many images a page.")
    cursor: str | None = Field(None, max_length=1000, description="`next_cursor` of the page before.")
    status: StatusChoice = Field(
        StatusChoice.INDEXED, description="Which images: those that searches find, rejected with a reason, gone, any."
    )

    def where(self) -> Where:
        """The condition on points."""
        return Where(
            status=self.status.status,
            source=self.source,
            bucket=self.bucket,
            prefix=self.prefix,
            tag=self.tag,
            tag_score=self.tag_score,
        )


class ImageOptions(_Options):
    """One image."""

    vector: bool = Field(False, description="Answer its vector too.")
    status: StatusChoice = Field(StatusChoice.INDEXED, description="The status that it must have.")


def each_once(request: Request) -> None:
    """Refuse a query string that is not UTF-8, or has a parameter twice, where one value would silently win."""
    query = bytes(request.scope["query_string"])
    try:
        names = [name for name, _ in parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")]
    except UnicodeDecodeError:
        raise bad_parameter("query string", "it is not UTF-8, percent-encoded") from None
    except ValueError as error:
        raise bad_parameter("query string", str(error)) from None
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise bad_parameters([{"field": name[:60], "problem": "it was given more than once"} for name in repeated[:20]])
