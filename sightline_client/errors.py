"""What can go wrong, as exceptions with the sentences that the service gave."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx


class ProblemError(Exception):
    """The service refused a request. The attributes are those of its problem details (RFC 9457)."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.type = str(body.get("type", "about:blank"))
        self.detail = str(body.get("detail") or body.get("title") or "no reason was given")
        self.remedy = str(body.get("remedy", ""))
        self.errors: Sequence[Mapping[str, str]] = tuple(body.get("errors", ()))
        self.body = dict(body)
        super().__init__(f"{status}: {self.detail}{f' {self.remedy}' if self.remedy else ''}")


class SightlineUnreachable(Exception):
    """Nobody answered, or the answer broke off; the message names the address."""


def problem_of(response: httpx.Response) -> ProblemError:
    """The problem of an answer that is no success; its body must have been read."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {"detail": response.text[:300] or response.reason_phrase}
    return ProblemError(response.status_code, body)
