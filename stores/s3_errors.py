"""What S3 errors mean, and what a person can do about each. Codes: the Amazon S3 API Reference, "Error responses"."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NotConnected
from botocore.parsers import ResponseParserError

from schemas.errors import ConfigurationError, DependencyUnavailable, SightlineError

UNREADABLE = (BotoCoreError, ClientError, ResponseParserError, OSError)
"""Whatever boto3 raises when a request, or reading its answer, fails. `ResponseParserError` is no `BotoCoreError`."""

CUT_SHORT = (IncompleteReadError, ResponseStreamingError, FlexibleChecksumError)
"""The body that came is not the body that was announced."""


class BucketMissing(ConfigurationError):
    """The store itself said that there is no such bucket (404 NoSuchBucket). No other failure is proof of that."""


_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    NoAuthTokenError,
    TokenRetrievalError,
)
_SET_CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role that may read it"
)
_RIGHTS = (
    "Give these credentials s3:GetObject and s3:ListBucket; without the latter S3 answers 403 for missing keys too"
)

# The store says that no object can have such a key, so none is there.
_IMPOSSIBLE_KEYS = {"KeyTooLongError", "KeyTooLong", "InvalidURI", "XMinioInvalidObjectName"}

_REMEDIES = {
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": "The bucket or the account was closed by its provider; ask there",
    "AccountProblem": "The account was closed by its provider; ask there",
    "InvalidAccessKeyId": "The access key is unknown there: check AWS_ACCESS_KEY_ID, and that it belongs to this store",
    "SignatureDoesNotMatch": "The secret key is wrong: check AWS_SECRET_ACCESS_KEY, and the region",
    "AuthorizationHeaderMalformed": "The region is wrong: set SIGHTLINE_S3__REGION to the bucket's",
    "PermanentRedirect": "The region or endpoint is wrong: set SIGHTLINE_S3__REGION to the bucket's",
    "ExpiredToken": "The temporary credentials have expired: renew them",
    "ExpiredTokenException": "The temporary credentials have expired: renew them",
    "InvalidToken": "The session token does not fit the access key: check AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "This machine's clock and the store's are too far apart: set both by NTP",
    "NoSuchBucket": "The bucket is not there: make it again, or restart with another; "
    "nothing is taken out of the index meanwhile",
    "SlowDown": "The store asks for fewer requests: lower SIGHTLINE_S3__MAX_CONNECTIONS if this lasts",
}


def code_of(error: ClientError) -> str:
    """The error code that the store gave, or the HTTP status as text where it gave none."""
    return str(error.response.get("Error", {}).get("Code") or status_of(error))


def status_of(error: ClientError) -> int:
    """The HTTP status of the answer; 0 where it is unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_gone(error: ClientError) -> bool:
    """Whether the store proved that no such object exists: NoSuchKey, a delete marker, or an impossible key."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if status_of(error) == 404:
        return code_of(error) == "NoSuchKey" or headers.get("x-amz-delete-marker") == "true"
    return code_of(error) in _IMPOSSIBLE_KEYS


def answer_of(error: ClientError) -> str:
    """What the store answered, as a part of a sentence: status, code and its own message."""
    message = str(error.response.get("Error", {}).get("Message", ""))[:200]
    detail = f"the store answered {status_of(error)} {code_of(error)}"
    return f"{detail} ({message})" if message else detail


def while_running(what: str, error: Exception) -> DependencyUnavailable:
    """The error for work that is to be tried again. `what` reads like "reading s3://bucket/key"."""
    detail, remedy = _explained(error)
    return DependencyUnavailable("s3", f"{what}: {detail}", remedy)


def at_start(where: str, error: Exception) -> SightlineError:
    """The error for a bucket that cannot be opened: `ConfigurationError` unless waiting may help.

    `BucketMissing`, which is one, where the store proved it.
    """
    detail, remedy = _explained(error)
    if isinstance(error, ClientError):
        waits = status_of(error) >= 500 or status_of(error) == 429 or code_of(error) == "RequestTimeTooSkewed"
    else:
        waits = isinstance(error, NotConnected | HTTPClientError) and not isinstance(error, SSLError)
    if waits:
        return DependencyUnavailable("s3", f"{where}: {detail}", remedy)
    if isinstance(error, ClientError) and code_of(error) == "NoSuchBucket":
        remedy = "Make the bucket, or name another; where the store is not AWS, set SIGHTLINE_S3__ENDPOINT_URL"
        if status_of(error) == 404:
            return BucketMissing(f"{where}: {detail}. {remedy}")
    return ConfigurationError(f"{where}: {detail}. {remedy}")


def _explained(error: Exception) -> tuple[str, str]:
    """What happened, and what to do about it."""
    if isinstance(error, ClientError):
        return _answered(error)
    if isinstance(error, _CREDENTIALS):
        return f"no usable credentials ({error})", _SET_CREDENTIALS
    if isinstance(error, SSLError):
        return f"the TLS connection failed ({error})", (
            "Trust the store's certificate (AWS_CA_BUNDLE), or correct SIGHTLINE_S3__ENDPOINT_URL"
        )
    if isinstance(error, ReadTimeoutError):
        return "the store stopped sending", (
            "Check the store and the network; raise SIGHTLINE_S3__READ_TIMEOUT if it is merely slow"
        )
    if isinstance(error, CUT_SHORT):
        return (
            f"the body is not the one that was announced ({error})",
            "Check the store, and any proxy before it, for cut connections",
        )
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ProxyConnectionError):
        return f"nothing answers ({error})", "Start the store, or correct SIGHTLINE_S3__ENDPOINT_URL"
    if isinstance(error, ResponseParserError):
        return f"the answer is no S3 ({error})", "Correct SIGHTLINE_S3__ENDPOINT_URL: something else answers there"
    if isinstance(error, HTTPClientError | OSError):
        return f"the connection failed ({error})", "Check the store and the network"
    if isinstance(error, BotoCoreError):
        return str(error), "Correct the bucket's name or SIGHTLINE_S3__*"
    return str(error), "Correct SIGHTLINE_S3__ENDPOINT_URL, SIGHTLINE_S3__REGION or the bucket's name"


def _answered(error: ClientError) -> tuple[str, str]:
    status, detail = status_of(error), answer_of(error)
    if remedy := _REMEDIES.get(code_of(error)):
        return detail, remedy
    if status == 403:
        return detail, _RIGHTS
    if status == 404:
        return detail, "That is no proof that the object is gone: check that SIGHTLINE_S3__ENDPOINT_URL is an S3 store"
    if status >= 500 or status == 429:
        return detail, "The store is in trouble or overloaded; look at its own logs if this lasts"
    return detail, "Look up this code in the store's documentation; nothing is taken out of the index meanwhile"
