"""What a notification says, one observation for each thing it mentions."""

from dataclasses import dataclass
from datetime import datetime

from schemas.dead_letter import RejectReason
from schemas.events import Claim, EventKind, EventOrigin


@dataclass(frozen=True, slots=True)
class ObservedChange:
    """An object may have changed. `bucket` and `key` are as the store knows them: decoded once, by its own rule."""

    bucket: str
    key: str
    kind: EventKind
    origin: EventOrigin
    event_time: datetime | None
    claim: Claim


@dataclass(frozen=True, slots=True)
class Ignored:
    """Understood, and no reason to look at anything. `note` is a sentence for the log where a person has to act."""

    origin: EventOrigin | None
    what: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not understood, or not acceptable. `detail` is printable ASCII of bounded length."""

    reason: RejectReason
    detail: str
    origin: EventOrigin | None = None


Observation = ObservedChange | Ignored | Refused
