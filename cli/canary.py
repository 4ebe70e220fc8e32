"""The canary: golden inputs embedded at the start, and compared with the vectors that the collection keeps of them."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from cli.indexes import indexed_model
from cli.parts import Parts
from cli.warm_up import tell_model
from encoders.canary import (
    GOLDEN_TEXTS,
    LEAST_FOR_READERS,
    cosines,
    golden_vectors,
    least_cosine,
    made_with,
    stored_form,
)
from encoders.encoder import Modality, Vectors
from encoders.engine import EncoderEngine, EngineClosed
from encoders.remote.encoder import RemoteEncoder
from runtime.metrics import Metric, MetricKind
from runtime.release import RELEASE
from runtime.start import Start
from schemas.collection import Canary, CollectionMetadata, collection_name
from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.points import foreign
from stores.vectors import ForeignCollection, VectorIndex

EVERY_SECONDS = 600.0
"""How often a process that goes on running looks again: drivers and cards fail while they run."""

CANARY_COSINE = Metric(
    name="sightline_canary_cosine",
    kind=MetricKind.GAUGE,
    labels=("golden",),
    sentence="Cosine of a golden input's vector with the one that the collection keeps of it: 1 while the model makes "
    "the same vectors; a writer stops below 0.9999 in float32, 0.9995 in float16, 0.999 in other number types.",
)


class VectorsMoved(ConfigurationError):
    """The encoder makes other vectors than the collection holds; the message says how far off, since when, and why."""


class CanaryCheck:
    """Compares what an entered engine makes with what an entered index keeps.

    A writer must make the very vectors of the collection, and gives its own canary to a collection that has none. A
    reader may run on another device in another number type, and changes nothing.
    """

    def __init__(self, index: VectorIndex, engine: EncoderEngine, parts: Parts, *, writes: bool) -> None:
        self._index = index
        self._engine = engine
        self._log = parts.log
        self._writes = writes
        self._place, self._move_it_away = _place(parts)
        self._stands_for = parts.settings.remote.model
        self._cosine = CANARY_COSINE.gauge(parts.registry)
        self._good_at: datetime | None = None

    async def start(self) -> None:
        """The first look. Raises `ForeignCollection`, `VectorsMoved`, `DependencyUnavailable`."""
        if self._writes:
            await self._as_writer()
        else:
            await self._as_reader()

    async def run(self, stop: asyncio.Event) -> None:
        """Look again every `EVERY_SECONDS` until `stop`. Raises what `start` raises but `DependencyUnavailable`."""
        # Whoever asks somebody else's model pays for each look, and looks at the start only.
        every = None if self._engine.encoder.device == "remote" else EVERY_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await stop.wait()
            if stop.is_set():
                return
            try:
                await self._as_reader()
            except DependencyUnavailable as error:
                self._log.warning("canary_postponed", str(error), dependency=error.dependency)
            except EngineClosed:
                if not stop.is_set():
                    raise

    async def _as_writer(self) -> None:
        # First, since vectors of a model elsewhere may have to be paid for, and are of no use while the index is away.
        known = await self._index.metadata()
        now, vectors = datetime.now(UTC), await self._golden_vectors(known)
        ours = {"sightline": RELEASE, **made_with(self._engine.encoder)}
        mine = Canary(vectors=stored_form(vectors), made_with=ours, matched_with=ours, matched_at=now)
        offered = CollectionMetadata(encoder=self._engine.identity, created_at=now, canary=mine)
        stored = await self._index.ensure(offered)
        if stored.canary is None:
            self._log.info("canary_stored", f"{self._place} had no canary yet: its vectors are taken for this model's")
            # Of several writers that start at once the last one's is kept, and the others are measured by it.
            stored = await self._index.keep_canary(mine)
        self._compare(stored, vectors)
        kept = stored.canary or mine
        complete = mine.vectors | kept.vectors
        if kept.matched_with != ours:
            then, here = _differing(kept.matched_with, ours)
            self._log.info("other_libraries_same_vectors", f"then {then}; now {here}: the vectors did not move")
        if kept.matched_with != ours or complete != kept.vectors:
            news = {"vectors": complete, "matched_with": ours, "matched_at": now}
            await self._index.keep_canary(kept.model_copy(update=news))

    async def _as_reader(self) -> None:
        stored = await self._index.metadata()
        if stored is None and self._stands_for:
            raise DependencyUnavailable(
                "index",
                f"there is no {self._place} yet, so nothing says how {self._stands_for} sees the golden images",
                "Start an embedder with that model, or correct SIGHTLINE_REMOTE__MODEL",
            )
        if stored is None:
            return
        made, own = stored.encoder, self._engine.identity
        if self._stands_for and isinstance(self._engine.encoder, RemoteEncoder):
            await self._stand_for(stored, self._engine.encoder)
            return
        if (made.space, made.dimension) != (own.space, own.dimension):
            raise ForeignCollection(foreign(self._place, made, own))
        if stored.canary is not None:
            self._compare(stored, await self._golden_vectors(stored))

    async def _golden_vectors(self, stored: CollectionMetadata | None) -> Mapping[str, Vectors]:
        """Those of our encoder. Raises `TakesNoWords` where the collection has words, and ours should but has none.

        On this machine a tokenizer may be missing, and images are embedded all the same. What somebody else runs has
        its tokenizer beside it: when words fail there, something else may be behind the same name.
        """
        encoder = self._engine.encoder
        has_words = stored is not None and stored.canary is not None and stored.canary.vectors.keys() & GOLDEN_TEXTS
        needed = bool(has_words) and encoder.device == "remote" and encoder.modality is not Modality.IMAGES
        return await golden_vectors(self._engine, words_needed=needed)

    async def _stand_for(self, stored: CollectionMetadata, encoder: RemoteEncoder) -> None:
        """Take the collection's identity, once the golden vectors say that this is the model that made it."""
        if stored.encoder.dimension != encoder.identity.dimension:
            raise ForeignCollection(foreign(self._place, stored.encoder, encoder.identity))
        untold = f"so nothing says whether {encoder.identity.model} makes the vectors of {stored.encoder.model}"
        if stored.canary is None:
            raise ForeignCollection(
                f"{self._place} keeps no vectors of golden inputs, {untold}. Start an embedder of this release once, "
                "which stores them, and start again"
            )
        if not self._compare(stored, await self._golden_vectors(stored)):
            raise ForeignCollection(
                f"{self._place} keeps vectors of the golden inputs {', '.join(stored.canary.vectors) or '(none)'}, and "
                f"this process embeds none of them, {untold}. Start an embedder of this release once, which adds what "
                "is missing, and start again"
            )
        encoder.stand_for(stored.encoder)

    def _compare(self, stored: CollectionMetadata, vectors: Mapping[str, Vectors]) -> Mapping[str, float]:
        """The cosines of what is in both, by name; none where nothing is. Raises `VectorsMoved`."""
        if stored.canary is None:
            return {}
        found = cosines(stored.canary.vectors, vectors)
        for name, cosine in found.items():
            self._cosine.labels(name).set(cosine)
        if not found:
            return found
        worst = min(found, key=lambda name: found[name])
        strict = min(least_cosine(self._engine.identity), least_cosine(stored.encoder))
        least = strict if self._writes else LEAST_FOR_READERS
        if found[worst] < least:
            raise VectorsMoved(self._sentence(stored, stored.canary, worst, found[worst], least))
        # What stands for a model elsewhere sends it pictures as JPEG, and is never exactly the same.
        if found[worst] < strict and not self._stands_for:
            self._log.warning("vectors_moved", self._sentence(stored, stored.canary, worst, found[worst], strict))
        self._good_at = datetime.now(UTC)
        return found

    def _sentence(self, stored: CollectionMetadata, kept: Canary, worst: str, found: float, least: float) -> str:
        then, here = _differing(kept.matched_with, {"sightline": RELEASE, **made_with(self._engine.encoder)})
        day = f"{kept.matched_at:%Y-%m-%d}"
        cause = (
            f"On {day} the vectors were the same with {then}; now this process has {here}"
            if then
            else f"Libraries and device are those of {day}, so the weights, a driver or a provider changed"
        )
        if not self._writes:
            remedy = "Searches miss what they should find: run them with the versions and weights of the embedder"
        else:
            doubt = (
                "Nothing was written, since old and new vectors cannot be compared"
                if self._good_at is None
                else f"What was indexed since {self._good_at:%Y-%m-%d %H:%M} UTC is in doubt"
            )
            back = "go back to those versions" if then else "bring the weights back, or mend the machine"
            remedy = f"{doubt}. To go on, {back}; or have all images embedded anew: {self._move_it_away}"
        return (
            f"{stored.encoder.model} no longer makes the vectors that {self._place} holds: its vector of the golden "
            f"{worst} has the cosine {found:.6f} with the stored one, and {least:g} is needed. {cause}. {remedy}"
        )


async def ensure_collection(
    index: VectorIndex, engine: EncoderEngine, parts: Parts, *, writes: bool, start: Start | None = None
) -> CanaryCheck:
    """Tell of an entered engine, and see that it is the one that the collection needs; a writer makes what is missing.

    Raises `ForeignCollection`, `VectorsMoved`, and without a `start` that waits `DependencyUnavailable`. The answer's
    `run` belongs among the components of a long-lived process.
    """
    if writes and parts.settings.remote.model:
        raise ConfigurationError(
            f"SIGHTLINE_REMOTE__MODEL has {parts.settings.encoder.model} stand for {parts.settings.remote.model}. "
            "That is good for searches only: what it embeds is not exactly the same. Unset it where images are indexed"
        )
    tell_model(engine, parts)
    check = CanaryCheck(index, engine, parts, writes=writes)
    if start is None:
        await check.start()
    else:
        await start.until_there(check.start)
    return check


def _place(parts: Parts) -> tuple[str, str]:
    """What the collection is called in a sentence, and how to make room for a new one."""
    name = collection_name(indexed_model(parts.settings))
    if parts.settings.qdrant.url:
        return (
            f"the collection {name} of the Qdrant server at {parts.settings.qdrant.url}",
            "delete that collection, start again, and run `sightline reconcile`",
        )
    folder = parts.settings.data_dir / "index" / name
    return f"the index in {folder}", "move that folder away and start again"


def _differing(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, str]:
    """What differs between the two, each as text; empty where nothing does."""
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))

    def told(one: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {one.get(name, 'absent')}" for name in names)

    return told(then), told(now)
