"""Objects that the store has but lets nobody read: archived, or encrypted with a key that cannot be had.

Codes: the Amazon S3 API Reference, "Error responses", and the AWS KMS one, whose errors S3 hands on under their names.
"""

import logging
import threading
import time
from collections.abc import Callable

from botocore.exceptions import ClientError

from stores.s3_errors import answer_of, code_of

_log = logging.getLogger(__name__)

WARNING_SECONDS = 60.0
"""The least time between two warnings: a whole bucket may be so, and every hint at it is a look."""

_ENABLE = "enable its KMS key again, or store it under another"
_OPENERS = {
    "InvalidObjectState": "restore it from its archive tier",
    "KMS.DisabledException": _ENABLE,
    "KMS.InvalidStateException": _ENABLE,
    "KMS.KMSInvalidStateException": _ENABLE,
    "KMS.NotFoundException": "bring its KMS key back, or store it under another",
    "KMS.InvalidKeyUsageException": "its KMS key is no key for objects: store it under another",
}
_STORE_AGAIN = "it has a key that only its owner knows (SSE-C): store it without, or exclude it by a pattern"


def unreadable_remedy(error: ClientError) -> str | None:
    """How such an object can be read again; None where the error says anything else.

    KMS errors that pass (throttling) and missing rights (403) are not among them: those are waited for. Of the many
    things that `InvalidRequest` means, only a message that names encryption speaks of the one object.
    """
    code = code_of(error)
    if code == "InvalidRequest":
        message = str(error.response.get("Error", {}).get("Message", "")).lower().replace("-", " ")
        return _STORE_AGAIN if "server side encryption" in message else None
    return _OPENERS.get(code)


class UnreadableWarnings:
    """Says of a bucket's objects that they cannot be read, now and then. May be used from many threads."""

    def __init__(self, bucket: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = bucket
        self._clock = clock
        self._lock = threading.Lock()
        self._next = float("-inf")
        self._unsaid = 0

    def warn(self, key: str, error: ClientError, remedy: str) -> None:
        """Say it of this object, or only count it, where the last warning was less than `WARNING_SECONDS` ago."""
        with self._lock:
            now = self._clock()
            if now < self._next:
                self._unsaid += 1
                return
            others, self._unsaid, self._next = self._unsaid, 0, now + WARNING_SECONDS
        _log.warning(
            "s3://%s/%s cannot be read, so it counts as not there: %s. To have it found again, %s; a later comparison "
            "sees it%s",
            self._bucket,
            key,
            answer_of(error),
            remedy,
            f" ({others} looks more ended so since the last warning)" if others else "",
            extra={"action": "object_unreadable", "fields": {"bucket": self._bucket, "key": key, "others": others}},
        )
