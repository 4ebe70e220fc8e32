"""Record headers: the schema a record was written with, and W3C trace context.

Trace context follows https://www.w3.org/TR/trace-context/ (version 00).
"""

import re
import secrets

Headers = tuple[tuple[str, bytes], ...]
"""Header names are text, values are bytes, as Kafka has them; a name may repeat."""

SCHEMA = "sightline-schema"
TRACEPARENT = "traceparent"

_TRACEPARENT_FORM = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def header(headers: Headers, name: str) -> bytes | None:
    """The last value of a header, or None."""
    for candidate, value in reversed(headers):
        if candidate == name:
            return value
    return None


def new_traceparent() -> bytes:
    """A fresh, sampled trace context."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01".encode()


def trace_id(traceparent: bytes) -> str:
    """The trace id, 32 hexadecimal digits, of a trace context as the functions here make it."""
    return traceparent[3:35].decode("ascii")


def known_traceparent(headers: Headers) -> bytes | None:
    """The trace context of a record; None where it has none, or one of another form."""
    found = header(headers, TRACEPARENT)
    return found if found is not None and _TRACEPARENT_FORM.fullmatch(found) else None


def child_traceparent(headers: Headers) -> bytes:
    """The trace context for what follows from a record: its trace id, a new span id; a new trace where it has none."""
    parent = known_traceparent(headers)
    if parent is None:
        return new_traceparent()
    version, trace, _, flags = parent.decode("ascii").split("-")
    return f"{version}-{trace}-{secrets.token_hex(8)}-{flags}".encode()
