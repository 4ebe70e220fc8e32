"""Why an image is found, or not: what is stored, what the store says now, what the rules would do, and a conclusion."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from pydantic import BaseModel, Field

from schemas.collection import PointPayload, Status
from schemas.dead_letter import DeadLetter
from schemas.errors import DependencyUnavailable
from schemas.events import EncoderIdentity, point_id
from services.search.one_image.circumstances import (
    LetterNow,
    ModelNow,
    Now,
    ObjectNow,
    Outcome,
    RulesNow,
    Subject,
    Verdict,
)
from services.search.one_image.conclusion import conclude
from services.search.one_image.originals import NoOriginals, Originals
from services.search.one_image.timeline import Step, steps_of
from stores.objects import Seen


class IntakeRules(Protocol):
    """What decides, before any byte is read, whether an object is looked at; and what failed on the way."""

    def verdict(self, source: str, bucket: str, key: str) -> Verdict:
        """By the list of buckets, the prefix that is followed, and the include and exclude patterns."""
        ...

    def places(self) -> Sequence[tuple[str, str]]:
        """Source and bucket of what this process follows, where it knows that."""
        ...

    async def letters(self, source: str, bucket: str, key: str) -> Sequence[DeadLetter] | None:
        """Dead letters about the object, oldest first; None where they cannot be read from here."""
        ...

    def waiting_for(self) -> Sequence[str]:
        """What the pipeline waits for now, if it runs in this process."""
        ...


class Timeline(BaseModel):
    """Why an image is found or not. `status` is null for a key that the index does not know."""

    id: UUID
    source: str
    bucket: str
    key: str
    status: Status | None
    steps: list[Step]
    now: Now
    outcome: Outcome
    conclusion: str = Field(examples=["holiday/beach.jpg is indexed, and searches find it."])
    remedy: str = Field(examples=["Search with the picture itself to see its rank."])


class Explainer:
    """Explains one object at a time. Reads only; whatever cannot be asked is said, and never raised."""

    def __init__(self, originals: Originals | None, rules: IntakeRules | None) -> None:
        self._originals = originals
        self._rules = rules

    @property
    def places(self) -> Sequence[tuple[str, str]]:
        """Source and bucket of what this process follows."""
        return () if self._rules is None else self._rules.places()

    def refuses(self, source: str, bucket: str, key: str) -> bool:
        """Whether the rules leave such an object alone, so that no store need be asked about it."""
        return self._rules is not None and not self._rules.verdict(source, bucket, key).wanted

    async def explain(self, subject: Subject, running: EncoderIdentity) -> Timeline:
        """The timeline and the conclusion; `running` is the encoder that embeds queries here."""
        verdict = None if self._rules is None else self._rules.verdict(subject.source, subject.bucket, subject.key)
        found = await self._object(subject)
        letters = await self._letters(subject)
        waiting_for = [] if self._rules is None else list(self._rules.waiting_for())
        now = Now(
            checked_at=datetime.now(UTC),
            object=found,
            rules=RulesNow(wanted=verdict.wanted, why=verdict.why or None) if verdict else RulesNow(wanted=None),
            model=_model(subject.payload, running),
            dead_letters=letters,
            waiting_for=waiting_for,
        )
        outcome, conclusion, remedy = conclude(subject, now, verdict)
        image = point_id(subject.source, subject.bucket, subject.key)
        return Timeline(
            id=image,
            source=subject.source,
            bucket=subject.bucket,
            key=subject.key,
            status=subject.payload.status if subject.payload else None,
            steps=steps_of(subject.payload) if subject.payload else [],
            now=now,
            outcome=outcome,
            conclusion=conclusion,
            remedy=remedy.replace("{id}", str(image)),
        )

    async def _object(self, subject: Subject) -> ObjectNow:
        if self._originals is None:
            return ObjectNow(exists=None, problem="this service was given no access to originals")
        try:
            glance = await self._originals.glance(subject.source, subject.bucket, subject.key)
        except NoOriginals as error:
            return ObjectNow(exists=None, problem=str(error))
        except DependencyUnavailable as error:
            return ObjectNow(exists=None, problem=error.detail, remedy=error.remedy)
        if not isinstance(glance, Seen):
            return ObjectNow(exists=False)
        facts = glance.facts
        stored = subject.payload.etag if subject.payload else None
        return ObjectNow(
            exists=True,
            same=None if stored is None else facts.etag == stored,
            etag=facts.etag,
            size=facts.size,
            modified_at=facts.modified_at,
        )

    async def _letters(self, subject: Subject) -> list[LetterNow] | None:
        if self._rules is None:
            return None
        letters = await self._rules.letters(subject.source, subject.bucket, subject.key)
        if letters is None:
            return None
        return [
            LetterNow(
                occurred_at=letter.occurred_at, stage=letter.stage, reason=letter.reason.value, detail=letter.detail
            )
            for letter in letters
        ]


def _model(payload: PointPayload | None, running: EncoderIdentity) -> ModelNow:
    if payload is None or payload.status is not Status.INDEXED:
        return ModelNow(stored=None, running=running.model, comparable=None)
    same_space = payload.fingerprint.rpartition("-")[0] == running.space
    return ModelNow(stored=payload.model, running=running.model, comparable=same_space)
