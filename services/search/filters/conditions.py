"""The conditions on images: each a query parameter, and each a key of a filter in JSON, with one set of rules."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from schemas.events import MAX_VERSION, BucketName, ObjectKey, SourceName
from stores.filters import Between, Filter, KeyPrefix, KeywordField, Match, RangeField, Tagged

_PLUS_READ_AS_SPACE = re.compile(r"(?<=\d) (?=\d\d:?\d\d$)")

MAX_BYTES = MAX_VERSION
"""The greatest size that can be compared exactly."""


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


def _format_name(value: str) -> str:
    name = value.lower()
    return {"jpg": "jpeg", "tif": "tiff"}.get(name, name)


Timestamp = Annotated[datetime, BeforeValidator(timestamp)]
FormatName = Annotated[str, AfterValidator(_format_name)]
Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]


class Conditions(BaseModel):
    """Conditions that all hold. Bounds named `after` are inclusive, `before` exclusive; no zone means UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    camera: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Only this camera, as `GET /v1/facets?field=camera` spells it.",
        examples=["Canon EOS R6"],
    )
    format: FormatName | None = Field(
        None, min_length=1, max_length=20, description="Only this image format, in any case.", examples=["jpeg"]
    )
    taken_after: Timestamp | None = Field(
        None, description="Taken at this time or later, by the camera's clock (EXIF).", examples=["2024-05-15"]
    )
    taken_before: Timestamp | None = Field(None, description="Taken before this time, by the camera's clock (EXIF).")
    uploaded_after: Timestamp | None = Field(
        None, description="Last modified in the bucket at this time or later.", examples=["2024-05-15T14:30:00Z"]
    )
    uploaded_before: Timestamp | None = Field(None, description="Last modified in the bucket before this time.")
    size_min: Bytes | None = Field(None, description="Files of so many bytes or more.", examples=[100000])
    size_max: Bytes | None = Field(None, description="Files of fewer bytes than this.")

    @field_validator("tag_score")
    @classmethod
    def _of_a_tag(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("tag") is None:
            raise ValueError("name the tag too, as in tag=beach&tag_score=0.5")
        return value

    def parts(self) -> tuple[Filter, ...]:
        """The conditions that are given, as the index understands them; all of them hold."""
        parts: list[Filter] = [
            Match(field, value)
            for field, value in (
                (KeywordField.SOURCE, self.source),
                (KeywordField.BUCKET, self.bucket),
                (KeywordField.CAMERA, self.camera),
                (KeywordField.FORMAT, self.format),
            )
            if value is not None
        ]
        if self.prefix is not None:
            parts.append(KeyPrefix(self.prefix))
        if self.tag is not None:
            parts.append(Tagged(self.tag, self.tag_score))
        for field, at_least, below in (
            (RangeField.TAKEN_AT, self.taken_after, self.taken_before),
            (RangeField.UPLOADED_AT, self.uploaded_after, self.uploaded_before),
            (RangeField.SIZE, self.size_min, self.size_max),
        ):
            if at_least is not None or below is not None:
                parts.append(Between(field, at_least, below))
        return tuple(parts)
