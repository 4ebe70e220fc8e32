"""A remote model as an `Encoder`: pictures shrunk by the threads that decode, sent several at once, kept in order."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from encoders.encoder import Modality, Prepared, Scoring, SomeFailed, TakesNoWords, Vectors
from encoders.remote.answers import Numbers, unit_vector
from encoders.remote.budget import Budget
from encoders.remote.connection import Connection
from encoders.remote.failures import Refused, Unanswered, Unexpected
from encoders.remote.options import RemoteOptions
from encoders.remote.patience import Patience, Turn
from encoders.remote.services import Service
from encoders.remote.shrinking import LONGEST, QUALITIES, REVISION, control_picture, shrunk
from imaging.formats import BadImage
from schemas.collection import model_label
from schemas.dead_letter import RejectReason
from schemas.errors import ConfigurationError, DependencyUnavailable
from schemas.events import EncoderIdentity

BLAMED_AFTER = 5
"""Attempts at which a service failed on one picture before the picture is suspected instead of the service."""
STARTING = 4
"""Answers after `load` that the start waits for too: so many golden inputs are embedded right after it."""
_SUSPECTS = 1000


class RemoteEncoder:
    """A model of a `Service`. What its vectors are worth is the service's word: see docs/decisions.

    The fingerprint holds the model's name, its version where the service tells it, and how pictures are shrunk. The
    weights behind the name cannot be known.
    """

    scoring: Scoring | None = None
    device = "remote"

    def __init__(self, name: str, service: Service, options: RemoteOptions) -> None:
        self.name = name
        self.modality: Modality = service.modality
        self.target_size = options.side
        self._service = service
        self._options = options
        self._budget = Budget(options)
        self._connection = Connection(service.name, options.token(service.variable), options, self._budget)
        self._patience = Patience(service.name, options.clock)
        self._control = shrunk(control_picture(), side=options.side, max_bytes=options.max_bytes)
        self._identity: EncoderIdentity | None = None
        self._version = ""
        self._answers = 0
        self._suspicions: OrderedDict[str, int] = OrderedDict()
        self._places = threading.BoundedSemaphore(options.concurrency)
        self._lock = threading.Lock()

    @property
    def identity(self) -> EncoderIdentity:
        """Known after `load`, since the dimension is learned from an answer."""
        if self._identity is None:
            raise RuntimeError(f"{self.name} has no identity before load()")
        return self._identity

    def load(self) -> None:
        """Have one picture embedded, waiting out a cold start. Raises `ConfigurationError`, `DependencyUnavailable`."""
        service, token = self._service, self._options.token(self._service.variable)
        if service.needs_token and not token:
            raise ConfigurationError(
                f"{self.name} needs a token, and {service.variable} is not set; put one there and start again"
            )
        try:
            answer, version = self._patience.ask(
                lambda: service.image(self._connection, self._control), turn=self._turn(), waiting=self._tell_of_waiting
            )
            vector = unit_vector(answer)
        except (Refused, Unexpected) as error:
            raise ConfigurationError(
                f"{self.name} gives no vector for a plain picture ({error}); check that the name is right, and that it "
                "is a model for image embeddings that this service runs"
            ) from error
        self._version = version
        self._identity = EncoderIdentity(
            model=model_label(self.name),
            fingerprint=f"{_digest(self.name, version)}-{self._shrinking()}-remote",
            dimension=len(vector),
        )
        if self._budget.limited:
            spent = self._budget.spent()
            self._options.notice(
                f"{service.name}: spent in {spent.month}: ${spent.dollars:,.2f}, requests: {spent.images:,}"
            )

    def stand_for(self, identity: EncoderIdentity) -> None:
        """Be known as another encoder, whose vectors these were found to be, for searches among them.

        Pictures that are sent as JPEG have nearly the vectors that the model makes of the originals; words the same.
        """
        if identity.dimension != self.identity.dimension:
            raise ValueError(f"vectors of {self.identity.dimension} numbers stand for none of {identity.dimension}")
        self._identity = identity

    def prepare(self, image: Image.Image) -> Prepared:
        """The JPEG that will be sent, as bytes of shape (n,); n is at most `max_bytes`."""
        jpeg = shrunk(image, side=self._options.side, max_bytes=self._options.max_bytes)
        return np.frombuffer(jpeg, dtype=np.uint8)

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        """Unit vectors of shape (n, dimension). Raises `SomeFailed`, for one image alone its own failure.

        Failures are `BadImage` for what the service refuses, `DependencyUnavailable`, and `ConfigurationError`.
        """
        vectors = np.zeros((len(batch), self.identity.dimension), dtype=np.float32)
        if not batch:
            return vectors
        turn = self._turn()
        answers = self._all([one.tobytes() for one in batch], lambda jpeg: self._vector_of_image(jpeg, turn))
        failures: dict[int, Exception] = {}
        for at, answer in enumerate(answers):
            if isinstance(answer, Exception):
                failures[at] = answer
            else:
                vectors[at] = answer
        self._judge_the_refused(failures, healthy=len(failures) < len(batch))
        if len(batch) == 1 and failures:
            raise failures[0]
        if failures:
            raise SomeFailed(vectors, failures)
        return vectors

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of shape (n, dimension). Raises `TakesNoWords`, and what `forward` raises for one image."""
        if not texts:
            return np.zeros((0, self.identity.dimension), dtype=np.float32)
        turn = self._turn()
        answers = self._all(list(texts), lambda text: self._vector_of_text(text, turn))
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        failures.sort(key=lambda failure: isinstance(failure, DependencyUnavailable))
        if failures:
            raise failures[0]
        return np.stack([answer for answer in answers if not isinstance(answer, Exception)]).astype(np.float32)

    def _turn(self) -> Turn:
        """How long to wait in hand."""
        starting = self._answers < STARTING
        patience = self._options.start_patience if starting else self._options.patience
        now = self._options.clock.monotonic()
        return Turn(now, now + patience)

    def _all(self, items: Sequence[Any], embed: Callable[[Any], Numbers]) -> list[Numbers | Exception]:
        """Each item's vector or failure, several asked for at once; nothing is sent after a `ConfigurationError`."""
        stopped: list[ConfigurationError] = []

        def one(item: Any) -> Numbers | Exception:
            try:
                with self._places:  # of all who ask at a time
                    return stopped[0] if stopped else embed(item)
            except ConfigurationError as error:
                stopped.append(error)
                return error
            except (Refused, DependencyUnavailable) as error:
                return error

        with ThreadPoolExecutor(min(self._options.concurrency, len(items)), thread_name_prefix="remote") as pool:
            return list(pool.map(one, items))

    def _vector_of_image(self, jpeg: bytes, turn: Turn) -> Numbers:
        key = hashlib.sha256(jpeg).hexdigest()
        vector = self._patience.ask(
            lambda: self._answered(*self._asked_again(lambda: self._service.image(self._connection, jpeg))),
            turn=turn,
            failed=lambda error: self._suspect(key, error),
        )
        with self._lock:
            self._answers += 1
            self._suspicions.pop(key, None)
        return vector

    def _vector_of_text(self, text: str, turn: Turn) -> Numbers:
        try:
            vector = self._patience.ask(lambda: unit_vector(self._service.text(self._connection, text)[0]), turn=turn)
        except (Refused, Unexpected) as error:
            if self._service.promises_words:
                raise ConfigurationError(
                    f"{self.name} gave no vector for words ({error}), though SIGHTLINE_REMOTE__TEXT_URL says that it "
                    "takes them; check what is served there, or unset it where images alone are embedded"
                ) from error
            raise TakesNoWords(
                f"{self.name} gave no vector for words ({error}); it may know images only: search by image instead, or "
                "choose a model that takes both"
            ) from error
        self._check_dimension(len(vector), "words")
        with self._lock:
            self._answers += 1
        return vector

    def _asked_again(self, question: Callable[[], tuple[Any, str]]) -> tuple[Any, str]:
        """An answer of a service that has answered before: if it is not there any more, it may come back."""
        try:
            return question()
        except Unexpected as error:
            raise Unanswered(str(error)) from error

    def _answered(self, answer: Any, version: str) -> Numbers:
        try:
            vector = unit_vector(answer)
        except Unexpected as error:
            raise Unanswered(str(error), suspicious=True) from error
        self._check_dimension(len(vector), "images")
        if version != self._version:
            raise ConfigurationError(
                f"{self.name} runs version {version or 'unknown'} now, and ran {self._version or 'unknown'} at the "
                "start; its vectors may differ: name the version that you want, or start again to index anew"
            )
        return vector

    def _check_dimension(self, length: int, what: str) -> None:
        if length != self.identity.dimension:
            raise ConfigurationError(
                f"{self.name} answers {length} numbers for {what}, and answered {self.identity.dimension} for a "
                "picture at the start; they are not of one model, so nothing more is written: check what it serves"
            )

    def _suspect(self, key: str, error: Unanswered) -> None:
        """Count failures that may be the picture's own. Raises `Refused` when there are too many."""
        if not error.suspicious:
            return
        with self._lock:
            count = self._suspicions.pop(key, 0) + 1
            if count < BLAMED_AFTER:
                self._suspicions[key] = count
                while len(self._suspicions) > _SUSPECTS:
                    self._suspicions.popitem(last=False)
                return
        raise Refused(f"failed {count} times, the last time: {error.detail}")

    def _judge_the_refused(self, failures: dict[int, Exception], *, healthy: bool) -> None:
        """A refusal counts against a picture only if the service has just taken another one."""
        refused = {at: failure for at, failure in failures.items() if isinstance(failure, Refused)}
        if not refused:
            return
        verdict = None if healthy else self._why_not_even_the_control(next(iter(refused.values())))
        for at, failure in refused.items():
            detail = (
                f"{self.name} refuses the image, which was sent as a JPEG of at most {self._options.max_bytes} bytes"
            )
            failures[at] = verdict or BadImage(RejectReason.REFUSED_BY_ENCODER, f"{detail} ({failure})"[:300])

    def _why_not_even_the_control(self, refusal: Exception) -> Exception | None:
        """None where the service takes the picture that it took at the start."""
        try:
            answer, _ = self._service.image(self._connection, self._control)
            unit_vector(answer)
        except Unexpected as error:
            return ConfigurationError(
                f"{self.name} gives nothing usable any more, not even for the picture that it took at the start "
                f"({error}); check what it serves, and start again"
            )
        except ConfigurationError as error:
            return error
        except (Refused, Unanswered) as error:
            return DependencyUnavailable(
                self._service.name,
                f"{self.name} refuses an image ({refusal}), and also the picture that it took at the start ({error})",
                "No image is blamed for that; it is asked again by itself. Look at the service's status page",
            )
        return None

    def _tell_of_waiting(self, reason: str, seconds: float) -> None:
        self._options.notice(f"{self._service.name}: {reason}; asking again in {seconds:.0f} s")

    def _shrinking(self) -> str:
        return _digest(REVISION, self._options.side, LONGEST, QUALITIES, self._options.max_bytes)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
