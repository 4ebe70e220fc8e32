"""The conclusion of an explanation: one word for programs, one sentence for people, and what to do."""

from schemas.collection import PointPayload, Status
from services.search.one_image.circumstances import Now, Outcome, Subject, Verdict


def conclude(subject: Subject, now: Now, verdict: Verdict | None) -> tuple[Outcome, str, str]:
    """The conclusion in a word, in a sentence, and what to do about it."""
    if subject.payload is None:
        return _of_no_point(subject, now, verdict)
    of_status = {Status.INDEXED: _of_indexed, Status.REJECTED: _of_rejected, Status.GONE: _of_gone}
    return of_status[subject.payload.status](subject, subject.payload, now, verdict)


_LOOK_AGAIN = "POST /v1/images/{id}/retry makes the index look at it now; `sightline reconcile SOURCE` finds all such"
_UPLOAD = "Upload a good image under the same key; it is noticed by itself."
_REMEDIES = {
    "too_large": "Raise SIGHTLINE_LIMITS__OBJECT_BYTES and look again, or upload a smaller file.",
    "too_many_pixels": "Raise SIGHTLINE_LIMITS__PIXELS and look again, or upload a smaller picture.",
    "unsupported_format": "Convert it to JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC and upload that.",
    "refused_by_encoder": "Look at the model's own limits, mend the cause, and look again.",
}


def _of_no_point(subject: Subject, now: Now, verdict: Verdict | None) -> tuple[Outcome, str, str]:
    key, bucket = subject.key, subject.bucket
    if verdict is not None and not verdict.wanted:
        there = "" if now.object.exists is not False else " There is no such object either."
        return Outcome.IGNORED, f"{key} is not indexed, because it is left alone: {verdict.why}.{there}", verdict.remedy
    if now.object.exists is False:
        return (
            Outcome.NOT_THERE,
            f"{key} is not indexed, because {bucket} has no such object.",
            "Compare the spelling with the store's: upper and lower case, spaces and folders count.",
        )
    if now.object.exists is None:
        return (
            Outcome.UNKNOWN,
            f"{key} is not in the index, and the store cannot be asked: {now.object.problem}.",
            now.object.remedy or "Ask where the store can be read.",
        )
    if now.dead_letters:
        last = now.dead_letters[-1]
        return (
            Outcome.REJECTED,
            f"{key} is in {bucket}, but what came about it was rejected: {last.reason}: {last.detail}.",
            "Mend the cause; `sightline dead-letters list` shows the whole record.",
        )
    if now.waiting_for:
        return (
            Outcome.NOT_YET,
            f"{key} is in {bucket} and not indexed yet: the pipeline waits for {', '.join(now.waiting_for)}.",
            "Bring that back; nothing else needs to be done.",
        )
    return (
        Outcome.NOT_YET,
        f"{key} is in {bucket} and not indexed: no event about it has come through yet.",
        "Wait a moment. If it stays so the event was lost: `sightline reconcile SOURCE` finds it, and so does the next "
        "comparison of `sightline up`.",
    )


def _of_indexed(subject: Subject, payload: PointPayload, now: Now, verdict: Verdict | None) -> tuple[Outcome, str, str]:
    key, bucket = subject.key, subject.bucket
    if now.object.exists is False:
        return (
            Outcome.OUTDATED,
            f"{key} is still found, though it is no longer in {bucket}: the index has not heard of it yet.",
            f"{_LOOK_AGAIN}.",
        )
    if now.object.same is False:
        return (
            Outcome.OUTDATED,
            f"{key} is found by what it showed before: it was replaced in {bucket}, and not looked at since.",
            f"Wait a moment. {_LOOK_AGAIN}.",
        )
    if now.model.comparable is False:
        return (
            Outcome.INCOMPARABLE,
            f"{key} is indexed by {now.model.stored}, and this service searches with {now.model.running}: "
            "no search can find it.",
            f"Start the service with --model {now.model.stored}, or index anew with {now.model.running}.",
        )
    unasked = f" (the store could not be asked: {now.object.problem})" if now.object.exists is None else ""
    if verdict is not None and not verdict.wanted:
        return (
            Outcome.FOUND,
            f"{key} is indexed, and searches find it{unasked}; but later changes will go unnoticed: {verdict.why}.",
            verdict.remedy,
        )
    return (
        Outcome.FOUND,
        f"{key} is indexed, and searches find it{unasked}.",
        "If one does not: the words may not describe it, or a filter, a threshold or the limit leaves it out. Search "
        "with the picture itself to see it first.",
    )


def _of_rejected(
    subject: Subject, payload: PointPayload, now: Now, verdict: Verdict | None
) -> tuple[Outcome, str, str]:
    key, reason = subject.key, payload.reason.value if payload.reason else "rejected"
    if now.object.exists is False:
        return (
            Outcome.GONE,
            f"{key} is not found: it was rejected ({reason}), and is no longer in {subject.bucket}.",
            "Upload it again, as a good image.",
        )
    if now.object.same is False:
        return (
            Outcome.NOT_YET,
            f"{key} is not found: it was rejected ({reason}), and the file that replaced it was not looked at yet.",
            f"Wait a moment. {_LOOK_AGAIN}.",
        )
    detail = f": {payload.detail}" if payload.detail else ""
    return (
        Outcome.REJECTED,
        f"{key} is not found, because it was rejected as {reason}{detail}.",
        _REMEDIES.get(reason, _UPLOAD),
    )


def _of_gone(subject: Subject, payload: PointPayload, now: Now, verdict: Verdict | None) -> tuple[Outcome, str, str]:
    key, bucket = subject.key, subject.bucket
    if now.object.exists:
        if verdict is not None and not verdict.wanted:
            return Outcome.IGNORED, f"{key} is not found, because it is left alone: {verdict.why}.", verdict.remedy
        return (
            Outcome.NOT_YET,
            f"{key} is not found: it had left {bucket}, is back, and was not looked at yet.",
            f"Wait a moment. {_LOOK_AGAIN}.",
        )
    when = f" on {payload.indexed_at:%Y-%m-%d at %H:%M:%S} UTC"
    return (
        Outcome.GONE,
        f"{key} is not found, because it is no longer in {bucket}; that was noticed{when}.",
        "Upload it again to find it again.",
    )
