"""The receiver for stores that post their notifications: `POST /events`.

What a store hears, and what it makes of it:

- 200 once Kafka has acknowledged every hint. Also where something was refused: a dead letter then holds
  the notification and the answer says why, while an answer of 4xx would make the store send it for ever.
- 401 without a word on the reason. 413 above `SIGHTLINE_LIMITS__NOTIFICATION_BYTES`. 408 where the body
  does not arrive in time.
- 503 with Retry-After while Kafka is away, while too much is in hand, and while the process stops: the
  store keeps the notification and sends it again, if it can.

An empty body is a store's way to ask whether anybody listens: 200.
"""

import asyncio
import base64
import binascii
import hmac
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from runtime.access.gate import CALLER, Caller
from runtime.access.scopes import Scope
from runtime.batch import Received
from runtime.log import Log
from runtime.worker import Worker
from schemas.errors import ConfigurationError
from services.ingest.metrics import Became
from services.ingest.stage import Notification, NotificationStage, Reading

TOPIC = "webhook"
"""Where dead letters say that they came from."""

_RETRY_AFTER = {"Retry-After": "5"}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="sightline", Basic realm="sightline"', "Connection": "close"}
_TOLD = 10


@dataclass(frozen=True)
class PostedBatch:
    """One posted notification. It is done when the answer says so; there is nothing else to mark."""

    records: Sequence[Received]
    abandoned: bool = False

    async def done(self) -> None:
        """Nothing: the answer follows."""


class WebhookReceiver:
    """Hands each posted notification to the worker and answers when the worker is done with it.

    `router` is to be mounted, and `run` to be run beside it. An API key with the scope ingest does as well as
    `token`, which may be empty only where `loopback` says that no other machine can connect, or `with_keys` that
    a gate in front asks for such a key. `deadline` is in seconds, for the body and again for the work;
    at most `most_in_hand` notifications of at most `max_bytes` are in memory at a time.
    """

    def __init__(
        self,
        worker: Worker[Notification],
        *,
        token: str,
        loopback: bool,
        with_keys: bool = False,
        max_bytes: int,
        log: Log | None = None,
        deadline: float = 10.0,
        most_in_hand: int = 64,
    ) -> None:
        if not token.strip() and not loopback and not with_keys:
            raise ConfigurationError(
                "POST /events would take notifications from anybody who can connect. Set "
                "SIGHTLINE_INGEST__WEBHOOK__TOKEN to a long random text and give the store the same one, "
                "or listen on 127.0.0.1 only"
            )
        if not isinstance(worker.stage, NotificationStage):
            raise TypeError("the answer tells what the notification stage read, so the worker must have that one")
        self._worker = worker
        self._read = worker.stage.read
        self._token = token.strip()
        self._with_keys = with_keys
        self._max_bytes = max_bytes
        self._log = log or Log("sightline.ingest.webhook")
        self._deadline = deadline
        self._most_in_hand = most_in_hand
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None
        # Unlike a count from 0, this names a record across restarts and replicas, which dead letters live to see.
        self._offsets = itertools.count(time.time_ns() // 1000)
        self.router = APIRouter(tags=["ingest"])
        self.router.add_api_route(
            "/events", self._receive, methods=["POST"], summary="Take a store's notification", response_model=None
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Return once `stop` is set and what is in hand is answered. Raises what must stop the process."""
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._failed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            await self._idle.wait()
        finally:
            self._stopping = True
            for one in waits:
                one.cancel()
        if self._failure is not None:
            raise self._failure

    async def _receive(self, request: Request) -> Response:
        if not self._may_enter(request):
            return Response(status_code=401, headers=_CHALLENGE)
        if self._stopping or self._in_hand >= self._most_in_hand:
            return JSONResponse({"error": "try again later"}, 503, headers=_RETRY_AFTER | {"Connection": "close"})
        self._in_hand += 1
        self._idle.clear()
        try:
            body = await self._body(request)
            return body if isinstance(body, Response) else await self._work(body)
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self._idle.set()

    def _may_enter(self, request: Request) -> bool:
        caller: Caller | None = getattr(request.state, CALLER, None)
        if caller is not None and caller.required and caller.may(Scope.INGEST):
            return True
        if self._token or self._with_keys:
            return authorized(request.headers.get("authorization"), self._token)
        # Any page in a browser of this machine can reach loopback; a browser names the page's origin, no store does.
        return "origin" not in request.headers

    async def _body(self, request: Request) -> bytes | Response:
        body = bytearray()
        try:
            async with asyncio.timeout(self._deadline):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > self._max_bytes:
                        sentence = (
                            f"more than {self._max_bytes} bytes; SIGHTLINE_LIMITS__NOTIFICATION_BYTES sets the limit"
                        )
                        return JSONResponse({"error": sentence}, 413, headers={"Connection": "close"})
                    body += chunk
        except TimeoutError:
            return JSONResponse({"error": "the body did not arrive in time"}, 408, headers={"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        return bytes(body)

    async def _work(self, body: bytes) -> Response:
        if not body:
            return _answer(None)
        try:
            async with asyncio.timeout(self._deadline) as deadline:
                await self._worker.handle(PostedBatch([self._received(body)]))
                reading = await asyncio.to_thread(self._read, Notification(body))
        except TimeoutError as error:
            if not deadline.expired():
                return self._broken(error)
            self._log.warning(
                "webhook_deadline",
                f"a notification was not acknowledged within {self._deadline:g} s; the store was told to send it again",
            )
            return JSONResponse({"error": "not acknowledged in time"}, 503, headers=_RETRY_AFTER)
        except Exception as error:
            return self._broken(error)
        return _answer(reading)

    def _broken(self, error: Exception) -> Response:
        self._log.error("webhook_failed", f"{type(error).__name__}: {error}; the process stops")
        self._failure = self._failure or error
        self._stopping = True
        self._failed.set()
        return JSONResponse({"error": "try again later"}, 503, headers=_RETRY_AFTER)

    def _received(self, body: bytes) -> Received:
        return Received(
            topic=TOPIC,
            partition=0,
            offset=next(self._offsets),
            key=None,
            value=body,
            timestamp=datetime.now(UTC),
        )


def authorized(header: str | None, token: str) -> bool:
    """True where an Authorization header carries the token, compared in constant time.

    MinIO sends `Bearer <token>`, or the token verbatim where it has two words. SNS, Ceph and versitygw know
    no tokens but take `https://any:<token>@host/events` for an address, which becomes Basic.
    """
    if header is None or not token:
        return False
    scheme, _, rest = header.partition(" ")
    sent = [header.encode("latin-1", "replace")]
    if scheme.lower() == "bearer":
        sent.append(rest.strip().encode("latin-1", "replace"))
    elif scheme.lower() == "basic":
        try:
            sent.append(base64.b64decode(rest, validate=True).partition(b":")[2])
        except (binascii.Error, ValueError):
            return False
    # Summed, so that every candidate is compared and the time does not tell which form came closest.
    return sum(hmac.compare_digest(one, token.encode()) for one in sent) > 0


def _answer(reading: Reading | None) -> Response:
    if reading is None:
        return JSONResponse({"hints": 0, "ignored": 0, "unwanted": 0, "refused": 0})
    answer: dict[str, object] = {
        "hints": len(reading.events),
        "ignored": reading.count(Became.IGNORED),
        "unwanted": reading.count(Became.UNWANTED),
        "refused": len(reading.refused),
    }
    if reading.refused:
        answer["reasons"] = [f"{one.reason}: {one.detail}" for one in reading.refused[:_TOLD]]
    return JSONResponse(answer)
