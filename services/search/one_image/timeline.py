"""What happened to an image, step by step with times, from its point alone."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, Field

from schemas.collection import PointPayload, Status

_HINTS = {
    "folder": "the watch on the folder saw a change",
    "reconcile": "a comparison of the store with the index found a difference; no event had come, or none in time",
    "redrive": "somebody asked that it be looked at again",
}
_EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)


class StepKind(StrEnum):
    """The steps of an image's way into the index."""

    UPLOADED = "uploaded"
    NOTICED = "noticed"
    LOOKED_AT = "looked_at"
    EMBEDDED = "embedded"
    REJECTED = "rejected"
    FOUND_GONE = "found_gone"
    INDEXED = "indexed"


class Step(BaseModel):
    """One step. `at` is null where nobody recorded the time."""

    step: StepKind
    at: AwareDatetime | None
    approximate: bool = Field(False, description="The time is inferred, not recorded.")
    detail: str = Field(examples=["The bucket says that it was last modified then."])


def steps_of(payload: PointPayload) -> list[Step]:
    """The steps that led to a point, in their order."""
    journey = payload.journey
    steps: list[Step] = []
    if payload.uploaded_at is not None:
        steps.append(
            Step(step=StepKind.UPLOADED, at=payload.uploaded_at, detail="The store's own time of its last change.")
        )
    if journey is not None:
        origin = journey.origin or "unknown"
        said = _HINTS.get(origin, f"a notification of {origin} came")
        late = _delay(journey.event_time, journey.received_at)
        steps.append(Step(step=StepKind.NOTICED, at=journey.received_at, detail=f"{_sentence(said)}{late}"))
        steps.append(
            Step(step=StepKind.LOOKED_AT, at=journey.looked_at, detail="The object was read as it was at that time.")
        )
    else:
        steps.append(Step(step=StepKind.NOTICED, at=None, detail="An event came; the release then kept no time."))
        looked_at = _time_of(payload.version)
        steps.append(
            Step(
                step=StepKind.LOOKED_AT,
                at=looked_at,
                approximate=looked_at is not None,
                detail="The object was read; the time is that of the stored version.",
            )
        )
    judged_at = journey.judged_at if journey is not None else None
    steps.append(_verdict(payload, judged_at))
    written = {
        Status.INDEXED: "Written to the index; searches find it from then on.",
        Status.REJECTED: "The verdict was written to the index; searches do not find it.",
        Status.GONE: "Taken out of the results.",
    }
    steps.append(Step(step=StepKind.INDEXED, at=payload.indexed_at, detail=written[payload.status]))
    return steps


def _verdict(payload: PointPayload, at: datetime | None) -> Step:
    if payload.status is Status.REJECTED:
        by = f" (release {payload.release})" if payload.release else ""
        reason = payload.reason.value if payload.reason else "no reason was kept"
        return Step(step=StepKind.REJECTED, at=at, detail=f"{reason}: {payload.detail or 'no detail was kept'}{by}")
    if payload.status is Status.GONE:
        return Step(step=StepKind.FOUND_GONE, at=at, detail="The store proved that there is no such object any more.")
    picture = f"{payload.format} of {payload.width} x {payload.height} pixels, " if payload.format else ""
    return Step(step=StepKind.EMBEDDED, at=at, detail=f"A {picture}made a vector by {payload.model}.")


def _delay(event_time: datetime | None, received_at: datetime | None) -> str:
    if event_time is None or received_at is None:
        return ""
    seconds = (received_at - event_time).total_seconds()
    return f" It told of a change {seconds:.1f} s before." if seconds >= 0.05 else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _time_of(version: int) -> datetime | None:
    """Versions are Unix milliseconds, unless a wrong clock or a test made them."""
    try:
        time = datetime.fromtimestamp(version / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return time if _EARLIEST <= time <= datetime.now(UTC) + timedelta(days=1) else None
