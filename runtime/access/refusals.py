"""Requests that go no further, as problem details (RFC 9457), and their count."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from starlette.types import Send

from runtime.metrics import Metric, MetricKind


class Reason(StrEnum):
    """Why a request was refused, for the operator."""

    NO_KEY = "no_key"
    UNKNOWN_KEY = "unknown_key"
    EXPIRED_KEY = "expired_key"
    MISSING_SCOPE = "missing_scope"
    RATE = "rate"
    CONCURRENCY = "concurrency"
    BODIES = "bodies"
    BUSY = "busy"
    HOST = "host"
    ORIGIN = "origin"
    PROXY = "proxy"


REFUSED = Metric(
    name="sightline_http_refused_total",
    kind=MetricKind.COUNTER,
    labels=("reason",),
    sentence="HTTP requests refused by reason: keys, rates, a full model queue (busy), or a page of another origin.",
)


@dataclass(frozen=True)
class Refusal:
    """An answer of 4xx. `kind` is the stable end of the problem's type."""

    reason: Reason
    status: int
    kind: str
    detail: str
    remedy: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, object] = field(default_factory=dict)

    async def answer(self, path: str, send: Send) -> None:
        """Send it in answer to a request for a path. The body of the request is left unread."""
        body = json.dumps(
            {
                "type": f"urn:sightline:problem:{self.kind}",
                "title": self.kind.replace("-", " ").capitalize(),
                "status": self.status,
                "detail": self.detail,
                "remedy": self.remedy,
                **self.members,
                **members_at(path),
            }
        ).encode()
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "cache-control": "no-store",
            **self.headers,
        }
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})


def members_at(path: str) -> Mapping[str, object]:
    """What every error at a path has besides the fields of a problem, since the clients it is kept for look there."""
    return {"success": False} if path.startswith("/api/") else {}


def no_key(reason: Reason, detail: str) -> Refusal:
    """Nobody that is known: 401."""
    error = "" if reason is Reason.NO_KEY else ', error="invalid_token"'
    return Refusal(
        reason,
        401,
        "unauthorized",
        detail,
        "Send a key as `Authorization: Bearer KEY` or `X-Api-Key: KEY` (the `sightline` commands: SIGHTLINE_API_KEY). "
        "Whoever runs this service makes keys with `sightline keys new`.",
        {"www-authenticate": f'Bearer realm="sightline"{error}'},
    )


def missing_scope(name: str, scope: str) -> Refusal:
    """Somebody who may not do this: 403."""
    return Refusal(
        Reason.MISSING_SCOPE,
        403,
        "forbidden",
        f"The key {name} lacks the scope {scope}, which this request needs.",
        f"Use a key that has it: `sightline keys new --name NAME --scope {scope}` makes one.",
        {"www-authenticate": f'Bearer realm="sightline", error="insufficient_scope", scope="{scope}"'},
        {"scope": scope},
    )


def too_many(reason: Reason, detail: str, seconds: float) -> Refusal:
    """Somebody who asks too much: 429."""
    return Refusal(
        reason,
        429,
        "too-many-requests",
        detail,
        "Wait as many seconds as Retry-After says, and ask more slowly from then on.",
        {"retry-after": str(max(1, math.ceil(seconds)))},
    )


WRONG_HOST = Refusal(
    Reason.HOST,
    421,
    "unexpected-host",
    "The Host header names another machine than this one, as it does when a web page tries to reach a local service.",
    "Ask by 127.0.0.1 or localhost, or add the name to SIGHTLINE_ACCESS__ALLOWED_HOSTS.",
)
FOREIGN_PAGE = Refusal(
    Reason.ORIGIN,
    403,
    "foreign-origin",
    "A web page of another origin sent this request.",
    "Open the service's own page, or ask from a program; SIGHTLINE_ACCESS__REQUIRED=always asks for API keys instead.",
)
THROUGH_PROXY = Refusal(
    Reason.PROXY,
    403,
    "came-through-a-proxy",
    "The request came through a proxy, so it need not be from this machine, and API keys are not asked for.",
    "Set SIGHTLINE_ACCESS__REQUIRED=always to ask for keys, or =never where the proxy itself authenticates.",
)
NO_KEY = no_key(Reason.NO_KEY, "This request needs an API key, and none was sent.")
UNKNOWN_KEY = no_key(
    Reason.UNKNOWN_KEY, "The API key that was sent is not known here; it may be mistyped, or have been revoked."
)
