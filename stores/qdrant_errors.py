"""What an error of qdrant-client means for us: wait, change the settings, or a bug.

Statuses: Qdrant answers 408 for a timeout, 429 for its rate limit, 503 for a shard that is away, 507 for a
full disk; over gRPC DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE and INTERNAL.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from schemas.errors import ConfigurationError, DependencyUnavailable

DEPENDENCY = "qdrant"

AWAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
}
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}

CHECK_SERVER = "Check that the server runs, that its URL and gRPC port are right, and its disk and log"
CHECK_KEY = "Check SIGHTLINE_QDRANT__API_KEY, and that the key may read and write this collection"


@contextmanager
def translated(place: str, *, starting: bool = False) -> Iterator[None]:
    """Raise what errors of the client mean: `DependencyUnavailable`, or the error itself where it is a bug.

    `place` names server and collection. A refused key is `ConfigurationError` while `starting`; later it is a
    key that was changed under us, and waiting for the person who changed it loses nothing.
    """
    try:
        yield
    except (UnexpectedResponse, grpc.aio.AioRpcError) as error:
        if _refused(error):
            if starting:
                raise ConfigurationError(f"{place} refused our key: {_said(error)}. {CHECK_KEY}") from error
            raise DependencyUnavailable(DEPENDENCY, f"{place} refuses our key: {_said(error)}", CHECK_KEY) from error
        if _away(error):
            raise DependencyUnavailable(
                DEPENDENCY, f"{place} could not answer: {_said(error)}", CHECK_SERVER
            ) from error
        raise
    except ResourceExhaustedResponse as error:
        raise DependencyUnavailable(
            DEPENDENCY,
            f"{place} asks us to come back in {error.retry_after_s} s: {error}",
            "Raise the server's limits if this goes on",
        ) from error
    except (ResponseHandlingException, OSError, TimeoutError) as error:
        cause = error.source if isinstance(error, ResponseHandlingException) else error
        raise DependencyUnavailable(
            DEPENDENCY, f"{place} could not be reached: {type(cause).__name__} {cause}".rstrip(), CHECK_SERVER
        ) from error


def _refused(error: UnexpectedResponse | grpc.aio.AioRpcError) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code in (401, 403)
    return error.code() in REFUSED


def _away(error: UnexpectedResponse | grpc.aio.AioRpcError) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code is None or error.status_code in (408, 429) or error.status_code >= 500
    return error.code() in AWAY


def _said(error: UnexpectedResponse | grpc.aio.AioRpcError) -> str:
    if isinstance(error, UnexpectedResponse):
        return f"{error.status_code} {error.content[:200].decode('utf-8', 'replace')}"
    return f"{error.code().name} {(error.details() or '')[:200]}"
