"""The gate in front of an app: keys, scopes, rates and origins, decided before anything of a request is read."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from runtime.access.api_keys import PREFIX, ApiKey
from runtime.access.browsers import (
    Headers,
    Network,
    came_through_proxy,
    client_address,
    comes_from_elsewhere,
    is_expected_host,
)
from runtime.access.key_ring import KeyRing
from runtime.access.rates import UNLIMITED, Allowance, Buckets, InHand
from runtime.access.refusals import (
    FOREIGN_PAGE,
    NO_KEY,
    REFUSED,
    THROUGH_PROXY,
    UNKNOWN_KEY,
    WRONG_HOST,
    Reason,
    Refusal,
    missing_scope,
    no_key,
    too_many,
)
from runtime.access.scopes import Door, Rule, Scope, rule_of

CALLER = "caller"
"""Where the `Caller` of a request is: `request.state.caller`, `scope["state"]["caller"]`."""

MOST_OF_A_BODY = 100 * 1024 * 1024
"""A body may announce more, or nothing at all; what is beyond the limits of an upload is thrown away as it arrives."""

SAFE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    # A bucket's objects are anybody's bytes: none of them may run as a page of ours, or be shown inside another's.
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


@dataclass(frozen=True)
class Caller:
    """Who asks. `name` is the key's, None without one; `scopes` are what the request may need."""

    name: str | None
    scopes: frozenset[Scope]
    required: bool
    """Whether keys are asked for here."""

    def may(self, scope: Scope) -> bool:
        """Whether the caller has a scope."""
        return scope in self.scopes


EVERYBODY = Caller(None, frozenset(Scope), required=False)
NOBODY = Caller(None, frozenset(), required=True)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the gate asks for.

    `required`: a key. Without it `on_loopback` says that no other machine can connect; a process that is neither
    stands behind a gateway that authenticates. `allowed_hosts` are further names of this service, and where there are
    some, or on loopback, no others are answered. `events_have_token` lets `POST /events` pass without a key, to a
    receiver that asks for its own token. `body_bytes` bounds the bodies of all requests under way; `each_key` and
    `each_address` are what one of them may ask.
    """

    required: bool
    on_loopback: bool
    allowed_hosts: frozenset[str] = frozenset()
    trusted_proxies: Sequence[Network] = ()
    events_have_token: bool = False
    body_bytes: int = 512 * 1024 * 1024
    each_key: Allowance = UNLIMITED
    each_address: Allowance = UNLIMITED


class Gate:
    """ASGI middleware. Answers 401, 403, 421 and 429 itself, and tells the app who asks."""

    def __init__(
        self,
        app: ASGIApp,
        policy: Policy,
        keys: KeyRing,
        registry: CollectorRegistry,
        *,
        buckets: Buckets | None = None,
    ) -> None:
        self._app = app
        self._policy = policy
        self._keys = keys
        self._buckets = Buckets() if buckets is None else buckets
        self._in_hand = InHand()
        self._body_bytes = 0
        self._refused = REFUSED.counter(registry)
        for reason in Reason:
            self._refused.labels(reason.value)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # nothing here speaks it, and nothing would guard it
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        rule = rule_of(scope["method"], scope["path"])
        if rule.door is Door.PROBE:
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        judged = self._judge(scope["method"], headers, rule)
        if isinstance(judged, Refusal):
            await self._refuse(judged, scope, send)
            return
        name, allowance = self._counted(judged, scope, headers, rule)
        if not self._in_hand.enter(name, allowance):
            await self._refuse(_at_a_time(allowance), scope, send)
            return
        size = body_size(headers) if rule.door is Door.KEY and rule.scope is not Scope.INGEST else 0
        self._body_bytes += size
        try:
            refusal = self._too_much(name, allowance, size)
            if refusal is not None:
                await self._refuse(refusal, scope, send)
                return
            scope.setdefault("state", {})[CALLER] = judged
            await self._app(scope, receive, self._guarded(send))
        finally:
            self._body_bytes -= size
            self._in_hand.leave(name)

    def _too_much(self, name: str, allowance: Allowance, size: int) -> Refusal | None:
        others = self._body_bytes - size
        if size and others and others + size > self._policy.body_bytes:
            detail = f"The bodies of requests under way fill the {self._policy.body_bytes} bytes there are for them."
            return too_many(Reason.BODIES, detail, 1)
        wait = self._buckets.take(name, allowance)
        if not wait:
            return None
        return too_many(Reason.RATE, f"This caller asks more often than {allowance.per_second:g} times a second.", wait)

    def _judge(self, method: str, headers: Headers, rule: Rule) -> Caller | Refusal:
        policy = self._policy
        if policy.allowed_hosts or (policy.on_loopback and not policy.required):
            host = headers.get(b"host", b"").decode("latin-1")
            if not is_expected_host(host, policy.allowed_hosts, loopback=policy.on_loopback):
                return WRONG_HOST
        text = presented_key(headers, by_store=rule.scope is Scope.INGEST)
        key = None if text is None else self._keys.find(text)
        if policy.required:
            return self._with_key(key, text is not None, rule)
        if comes_from_elsewhere(method, headers):
            return FOREIGN_PAGE
        if policy.on_loopback and came_through_proxy(headers):
            return THROUGH_PROXY
        return EVERYBODY if key is None else Caller(key.name, EVERYBODY.scopes, required=False)

    def _with_key(self, key: ApiKey | None, sent: bool, rule: Rule) -> Caller | Refusal:
        if key is not None and not key.expired(datetime.now(UTC)):
            if rule.scope is None or rule.scope in key.scopes:
                return Caller(key.name, key.scopes, required=True)
            return missing_scope(key.name, rule.scope)
        if rule.door is Door.OPEN:
            return NOBODY
        if key is not None:
            return no_key(Reason.EXPIRED_KEY, f"The API key {key.name} has expired.")
        if rule.scope is Scope.INGEST and self._policy.events_have_token:
            return NOBODY
        return UNKNOWN_KEY if sent else NO_KEY

    def _counted(self, caller: Caller, scope: AsgiScope, headers: Headers, rule: Rule) -> tuple[str, Allowance]:
        """Under which name a request is counted, and what that name may ask."""
        if rule.scope is Scope.INGEST:
            # A store that is told to come back may drop the notification; the receiver has a bound of its own.
            return "events", UNLIMITED
        if caller.name is not None:
            return f"key {caller.name}", self._policy.each_key
        peer = str((scope.get("client") or ("unknown",))[0])
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return client_address(peer, forwarded, self._policy.trusted_proxies), self._policy.each_address

    async def _refuse(self, refusal: Refusal, scope: AsgiScope, send: Send) -> None:
        self._refused.labels(refusal.reason).inc()
        await refusal.answer(scope["path"], send)

    def _guarded(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 429:
                    self._refused.labels(Reason.BUSY).inc()
                present = {name.lower() for name, _ in message.get("headers", ())}
                more = [pair for pair in SAFE_HEADERS if pair[0] not in present]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        return guarded


def _at_a_time(allowance: Allowance) -> Refusal:
    detail = f"{allowance.at_a_time} requests of this caller are under way, which is as many as may be at a time."
    return too_many(Reason.CONCURRENCY, detail, 1)


def body_size(headers: Headers) -> int:
    """How much memory a request's body may take, in bytes. No more than `MOST_OF_A_BODY` is ever kept of one."""
    if b"transfer-encoding" in headers:
        return MOST_OF_A_BODY
    announced = headers.get(b"content-length", b"0")
    return min(int(announced), MOST_OF_A_BODY) if announced.isdigit() else MOST_OF_A_BODY


def presented_key(headers: Headers, *, by_store: bool = False) -> str | None:
    """The text that was sent as a key.

    A store sends what it can: the bare key, or the password of Basic, since some know nothing but addresses.
    """
    sent = headers.get(b"x-api-key")
    if sent is not None:
        return sent.decode("latin-1").strip() or None
    header = headers.get(b"authorization", b"")
    scheme, _, rest = header.partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.decode("latin-1").strip() or None
    if by_store and header.startswith(PREFIX.encode()):
        return header.decode("latin-1")
    if by_store and scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest, validate=True).partition(b":")[2].decode("latin-1") or None
        except (binascii.Error, ValueError):
            return None
    return None
