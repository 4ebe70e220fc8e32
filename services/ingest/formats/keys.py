"""Object keys, decoded exactly once by the rule of each source, and checked against S3's own limits.

| source | in the notification | rule |
|---|---|---|
| AWS S3 records | form-encoded; `/` stays | `form_decoded` |
| MinIO, RustFS | form-encoded, `/` as `%2F` | `form_decoded` |
| EventBridge | as it is; undocumented | `plain`, and `form_decoded` where it could be that |
| Ceph RGW, versitygw | as it is | `plain` |
"""

import re
from urllib.parse import unquote_to_bytes

from schemas.dead_letter import RejectReason
from schemas.errors import UndecodableRecord
from services.ingest.formats.fields import printable

MOST_KEY_BYTES = 1024
"""S3's limit, in UTF-8: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

_MOST_ENCODED = 3 * MOST_KEY_BYTES

_FORM_ENCODED = re.compile(r"(?:[A-Za-z0-9._*~/-]|\+|%[0-9A-Fa-f]{2})+")


def plain(text: object) -> str:
    """The key as it stands. Raises `UndecodableRecord`."""
    if not isinstance(text, str):
        raise _invalid(f"no text but {printable(text)}")
    if len(text) > MOST_KEY_BYTES:
        raise _too_long()
    try:
        return _checked(text.encode())
    except UnicodeEncodeError:
        raise _invalid(f"{printable(text)} holds half a surrogate pair") from None


def form_decoded(text: object) -> str:
    """The key out of application/x-www-form-urlencoded text. Raises `UndecodableRecord`.

    A `%` that begins no escape stands for itself, since a hint too many does no harm.
    """
    if not isinstance(text, str):
        raise _invalid(f"no text but {printable(text)}")
    if len(text) > _MOST_ENCODED:
        raise _too_long()
    try:
        return _checked(unquote_to_bytes(text.replace("+", " ")))
    except UnicodeError:
        # Replacing what is no UTF-8, as unquote_plus does, would name another object.
        raise _invalid(f"{printable(text)} decodes to bytes that are no UTF-8") from None


def could_be_form_encoded(text: str) -> bool:
    """True where `text` differs from its decoded form and holds nothing that encoding would have escaped."""
    return ("+" in text or "%" in text) and _FORM_ENCODED.fullmatch(text) is not None


def _checked(key: bytes) -> str:
    if not key:
        raise _invalid("empty")
    if len(key) > MOST_KEY_BYTES:
        raise _too_long()
    if b"\0" in key:
        raise _invalid("with a NUL in it")
    return key.decode()


def _too_long() -> UndecodableRecord:
    return _invalid(f"longer than {MOST_KEY_BYTES} bytes, the most that S3 allows")


def _invalid(what: str) -> UndecodableRecord:
    return UndecodableRecord(RejectReason.INVALID_KEY, f"the key is {what}")
