"""One question to a service over HTTP, and what its status means for the question and for everybody else's."""

import json
from typing import Any
from urllib.parse import urlsplit

import httpx

from encoders.remote.budget import Budget
from encoders.remote.failures import Refused, Unanswered, Unexpected
from encoders.remote.gate import asked_to_wait
from encoders.remote.options import RemoteOptions
from encoders.remote.token import Token
from schemas.errors import ConfigurationError

CONNECT_SECONDS = 10.0
_OF_THIS_INPUT = (400, 413, 415, 422)
_NOTHING_DONE = range(300, 500)
"""Statuses at which no model has run; 503, a start or an overload, is one too."""


class Connection:
    """Safe to use from several threads. The token is sent to one origin, and redirects are not followed."""

    def __init__(self, service: str, token: Token, options: RemoteOptions, budget: Budget) -> None:
        self._service = service
        self._token = token
        self._clock = options.clock
        self._budget = budget
        self._timeout = options.timeout
        self._client = httpx.Client(
            headers={**token.headers(), "Accept": "application/json"},
            timeout=httpx.Timeout(options.timeout, connect=min(CONNECT_SECONDS, options.timeout), pool=None),
            limits=httpx.Limits(max_connections=options.concurrency),
        )

    def ask(self, method: str, url: str, *, billed: bool, **content: Any) -> Any:
        """The JSON of a good answer. `content` is what httpx's `request` takes.

        Raises `Refused`, `Unanswered`, `Unexpected`, or `ConfigurationError` for what a person must mend. Whatever it
        raises cites nothing that the service could have taken from our headers.
        """
        if billed:
            self._budget.spend()
        try:
            response = self._client.request(method, url, **content)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._give_back(billed)
            raise Unanswered(f"{_host(url)} cannot be reached ({self._cited(error)})") from error
        except httpx.TimeoutException as error:
            raise Unanswered(f"{_host(url)} did not answer within {self._timeout:g} s", suspicious=True) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            self._give_back(billed)
            raise ConfigurationError(f"SIGHTLINE_REMOTE__URL is no address ({self._cited(error)})") from error
        except httpx.HTTPError as error:
            raise Unanswered(f"{_host(url)} broke off ({self._cited(error)})") from error
        if response.status_code in _NOTHING_DONE or response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            self._give_back(billed)
        return self._judged(response)

    def _give_back(self, billed: bool) -> None:
        if billed:
            self._budget.give_back()

    def _judged(self, response: httpx.Response) -> Any:
        status = response.status_code
        try:
            body = self._without_token(json.loads(response.text))
        except (ValueError, RecursionError):
            body = None
        if response.is_success:
            if body is None:
                raise Unexpected(f"the answer is no JSON: {self._cited(response.text)}")
            return body
        # Not as it came, where a token may be hidden from us behind JSON's escapes.
        whole = response.text if body is None else json.dumps(body, ensure_ascii=False)
        said = f"{status}: {self._cited(_message(body) or whole or response.reason_phrase)}"
        if status in (401, 403):
            raise ConfigurationError(self._about_the_token(said))
        if status == httpx.codes.PAYMENT_REQUIRED:
            raise ConfigurationError(
                f"{self._service} wants to be paid before it goes on ({said}); add credit to the account, or choose "
                "another model, and start again. What was indexed stays"
            )
        if response.is_redirect:
            to = urlsplit(response.headers.get("location", "")).hostname or "another path"
            raise ConfigurationError(
                f"{_host(str(response.url))} sends us on to {to} ({status}), where the token is not taken; put the "
                "final address into SIGHTLINE_REMOTE__URL"
            )
        if status in _OF_THIS_INPUT:
            raise Refused(said)
        wait = asked_to_wait(response.headers, body, self._clock.now())
        if status in (408, 425, 429) or status > 500:
            raise Unanswered(f"it answers {said}", wait=wait)
        if status == httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unanswered(f"it answers {said}", wait=wait, suspicious=True)
        raise Unexpected(f"it answers {said}, asked at {response.url.copy_with(query=None)}")

    def _about_the_token(self, said: str) -> str:
        variable = self._token.variable
        if not self._token:
            return f"{self._service} asks for a token ({said}); put one into {variable} and start again"
        return (
            f"{self._service} does not accept the token in {variable} ({said}); check that it is valid and may use "
            "this model, and start again"
        )

    def _without_token(self, body: Any) -> Any:
        """The same JSON. Some services cite the header that they do not like, and sentences and logs cite them."""
        if isinstance(body, str):
            return self._token.hidden(body)
        if isinstance(body, dict):
            return {self._token.hidden(key): self._without_token(value) for key, value in body.items()}
        if isinstance(body, list):
            return [self._without_token(one) for one in body]
        return body

    def _cited(self, said: object) -> str:
        return self._token.hidden(" ".join(str(said).split()))[:200] or type(said).__name__


def _message(body: Any) -> str:
    """What an error's JSON says: `error` at Hugging Face, `detail` at Replicate and FastAPI."""
    if not isinstance(body, dict):
        return ""
    return str(next((body[key] for key in ("error", "detail", "message", "title") if body.get(key)), ""))


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
