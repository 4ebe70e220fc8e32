"""What an explanation rests on: the object that is meant, and what holds about it at this moment."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, Field

from schemas.collection import PointPayload


@dataclass(frozen=True)
class Subject:
    """An object, and its point if there is one."""

    source: str
    bucket: str
    key: str
    payload: PointPayload | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether objects of such a name are taken in at all; if not, `why` and `remedy` are sentences."""

    wanted: bool
    why: str = ""
    remedy: str = ""


class Outcome(StrEnum):
    """The conclusion in a word, for programs."""

    FOUND = "found"
    OUTDATED = "outdated"
    INCOMPARABLE = "incomparable"
    REJECTED = "rejected"
    IGNORED = "ignored"
    GONE = "gone"
    NOT_THERE = "not_there"
    NOT_YET = "not_yet"
    UNKNOWN = "unknown"


class ObjectNow(BaseModel):
    """What the store says at this moment. `exists` is null where it cannot be asked; `problem` says why."""

    exists: bool | None
    same: bool | None = Field(None, description="Whether its ETag is the one that is indexed.")
    etag: str | None = None
    size: int | None = None
    modified_at: AwareDatetime | None = None
    problem: str | None = None
    remedy: str | None = None


class RulesNow(BaseModel):
    """Whether the bucket list, the prefix and the patterns let the key in today; null where nobody here knows."""

    wanted: bool | None
    why: str | None = None


class LetterNow(BaseModel):
    """A dead letter about the object."""

    occurred_at: AwareDatetime
    stage: str
    reason: str
    detail: str


class ModelNow(BaseModel):
    """Whose vector is stored, and who embeds queries. `comparable` is null without a vector."""

    stored: str | None
    running: str
    comparable: bool | None


class Now(BaseModel):
    """What holds at this moment."""

    checked_at: AwareDatetime
    object: ObjectNow
    rules: RulesNow
    model: ModelNow
    dead_letters: list[LetterNow] | None = Field(description="Null where they cannot be read from here.")
    waiting_for: list[str] = Field(description="What the pipeline of this process waits for.")
