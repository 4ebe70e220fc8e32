"""Errors as people and programs read them: problem details (RFC 9457), each with what to do.

- `Problem`: what the client can mend: a parameter, a body, an image, an id.
- `DependencyUnavailable`: the index or a remote encoder is away: 503 with `Retry-After`.
- `EngineFull`: more waits for the model, or to be fetched, than may: 429 with `Retry-After`.
- any other `SightlineError` (an engine that is closing): 503 with `Retry-After`.
- `ConfigurationError`: the operator must mend it (a foreign encoder, a wrong key): 503 without `Retry-After`.
- anything else is a bug: 500, logged.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from imaging.formats import BadImage
from runtime.access.refusals import members_at
from runtime.log import Log
from schemas.errors import ConfigurationError, DependencyUnavailable, SightlineError
from services.search.load import EngineFull
from stores.vectors import ForeignCollection

RETRY_AFTER_SECONDS = 5


class ProblemKind(StrEnum):
    """The kinds of problem; stable, so that programs may tell them apart by `type`."""

    BAD_PARAMETER = "bad-parameter"
    BAD_BODY = "bad-body"
    BODY_TOO_LARGE = "body-too-large"
    UNSUPPORTED_BODY = "unsupported-body"
    BAD_IMAGE = "bad-image"
    NO_SUCH_IMAGE = "no-such-image"
    NO_SUCH_PAGE = "no-such-page"
    NO_ORIGINALS = "no-originals"
    ORIGINAL_CHANGED = "original-changed"
    NO_THUMBNAIL = "no-thumbnail"
    CANNOT_RETRY = "cannot-retry"
    NO_SUCH_SEARCH = "no-such-search"
    NO_SUCH_FOLDER = "no-such-folder"
    NO_SUCH_JOB = "no-such-job"
    OUTSIDE_ROOTS = "outside-roots"
    MODEL_TAKES_NO_IMAGES = "model-takes-no-images"
    MODEL_TAKES_NO_WORDS = "model-takes-no-words"
    MODEL_GIVES_NO_TAGS = "model-gives-no-tags"
    TOO_MANY_JOBS = "too-many-jobs"
    FORBIDDEN = "forbidden"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REFUSED = "refused"
    TOO_MANY_REQUESTS = "too-many-requests"
    UNAVAILABLE = "unavailable"
    FOREIGN_ENCODER = "foreign-encoder"
    MISCONFIGURED = "misconfigured"
    BUG = "bug"


class Problem(Exception):
    """A request that cannot be answered. `members` are further fields of the answer's JSON."""

    def __init__(
        self,
        status: int,
        kind: ProblemKind,
        detail: str,
        remedy: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.remedy = remedy
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> Response:
        """The answer: `application/problem+json` with type, title, status, detail, remedy and the members."""
        body: dict[str, Any] = {
            "type": f"urn:sightline:problem:{self.kind}",
            "title": self.kind.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "remedy": self.remedy,
        }
        return Response(
            to_json(body | self.members),
            status_code=self.status,
            headers=self.headers,
            media_type="application/problem+json",
        )


def bad_parameter(field: str, problem: str) -> Problem:
    """The problem of one parameter or field whose value cannot be used."""
    return bad_parameters([{"field": field, "problem": problem}])


def bad_parameters(errors: Sequence[Mapping[str, str]], *, status: int = 422) -> Problem:
    """The problem of several parameters; each error has `field` and `problem`."""
    return Problem(
        status,
        ProblemKind.BAD_PARAMETER,
        "; ".join(f"{error['field']}: {error['problem']}" for error in errors),
        "Correct what `errors` names; /docs lists every parameter with an example.",
        errors=list(errors),
    )


def bad_image(error: BadImage) -> Problem:
    """The problem of bytes that are no image."""
    return Problem(
        422,
        ProblemKind.BAD_IMAGE,
        f"The image cannot be used: {error.detail}",
        "Send the bytes of a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC image.",
        reason=error.reason.value,
    )


def validation_errors(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The errors of pydantic as `field` and `problem`."""
    return [_validation_error(error) for error in errors[:20]]


def install_handlers(app: FastAPI) -> None:
    """Make every error of the app a problem, with what clients of its path expect besides."""
    log = Log("sightline.search")

    def told(request: Request, problem: Problem) -> Response:
        problem.members |= members_at(request.scope["path"])
        return problem.response()

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return told(request, error)

    @app.exception_handler(BadImage)
    async def no_image(request: Request, error: BadImage) -> Response:
        return told(request, bad_image(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return told(request, bad_parameters(validation_errors(error.errors())))

    @app.exception_handler(DependencyUnavailable)
    async def away(request: Request, error: DependencyUnavailable) -> Response:
        log.warning("dependency_unavailable", str(error), stage="search", dependency=error.dependency)
        return told(request, _unavailable(f"{error.dependency}: {error.detail}", error.remedy))

    @app.exception_handler(EngineFull)
    async def full(request: Request, error: EngineFull) -> Response:
        problem = Problem(
            429,
            ProblemKind.TOO_MANY_REQUESTS,
            f"More is asked than can be answered: {error}.",
            "Wait as many seconds as Retry-After says, and ask fewer things at a time.",
            headers={"Retry-After": str(error.retry_after)},
        )
        return told(request, problem)

    @app.exception_handler(SightlineError)
    async def not_now(request: Request, error: SightlineError) -> Response:
        log.warning("request_refused", str(error), stage="search")
        remedy = "Try again in a moment; GET /readyz says whether the service is ready."
        return told(request, _unavailable(str(error), remedy))

    @app.exception_handler(ConfigurationError)
    async def misconfigured(request: Request, error: ConfigurationError) -> Response:
        foreign = isinstance(error, ForeignCollection)
        kind = ProblemKind.FOREIGN_ENCODER if foreign else ProblemKind.MISCONFIGURED
        log.warning(kind.replace("-", "_"), str(error), stage="search")
        remedy = "Trying again will not help: whoever runs this service has to change it."
        return told(request, Problem(503, kind, str(error), remedy))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return told(request, _http(request, error))

    @app.exception_handler(ClientDisconnect)
    async def hung_up(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        log.error("request_failed", f"{type(error).__name__}: {error}"[:500])
        problem = Problem(
            500,
            ProblemKind.BUG,
            "The request met an error that was not foreseen.",
            "The service's log has the details under the action request_failed; please report it.",
        )
        return told(request, problem)


def _unavailable(detail: str, remedy: str) -> Problem:
    return Problem(503, ProblemKind.UNAVAILABLE, detail, remedy, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _http(request: Request, error: HTTPException) -> Problem:
    if error.status_code == 404:
        return Problem(
            404,
            ProblemKind.NO_SUCH_PAGE,
            f"There is nothing at {request.url.path[:200]}.",
            "/docs lists what there is.",
        )
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return Problem(
            405,
            ProblemKind.METHOD_NOT_ALLOWED,
            f"{request.url.path[:200]} does not answer to this method.",
            f"Use {allowed}; /docs lists what there is.",
            headers=error.headers,
        )
    return Problem(
        error.status_code,
        ProblemKind.REFUSED,
        str(error.detail),
        "See /docs for what this path expects.",
        headers=error.headers,
    )


def _validation_error(error: Mapping[str, Any]) -> dict[str, str]:
    location = [str(part) for part in error["loc"] if part not in ("query", "path", "body", "header")]
    field = ".".join(location) or "body"
    if error["type"] == "extra_forbidden":
        return {"field": field, "problem": "there is no such parameter"}
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return {"field": field, "problem": "it is missing"}
    given = error.get("input")
    shown = f" (it is {given!r:.60})" if isinstance(given, str | int | float | bool) else ""
    return {"field": field, "problem": f"{message[:1].lower()}{message[1:]}{shown}"}
