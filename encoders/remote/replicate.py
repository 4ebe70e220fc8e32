"""Replicate: a prediction is made, and asked for until it has ended."""

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import urlsplit

from encoders.encoder import Modality
from encoders.remote.connection import Connection
from encoders.remote.failures import Refused, Unanswered, Unexpected
from encoders.remote.options import REPLICATE_API_TOKEN, RemoteOptions
from schemas.errors import ConfigurationError

REPLICATE = "https://api.replicate.com/v1"
POLL_SECONDS = 1.0
MOST_HELD = 60
"""Seconds for which Replicate holds an answer back at most, until the prediction has ended."""


class Replicate:
    """A model whose input is `image` (or `options.image_field`) or `text`, and whose output is an embedding.

    Pictures travel in the request as a data URI. A prediction that takes longer than we wait is not made again but
    asked for again, since it is paid for.
    """

    name = "replicate"
    variable = REPLICATE_API_TOKEN
    modality = Modality.IMAGES_AND_WORDS
    promises_words = False

    def __init__(self, model: str, options: RemoteOptions) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+(:[0-9a-f]{6,64})?", model):
            raise ConfigurationError(
                f"{model!r} is no model of Replicate; write replicate:OWNER/NAME or replicate:OWNER/NAME:VERSION, for "
                "example replicate:openai/clip"
            )
        self.needs_token = not options.url
        self._base = (options.url or REPLICATE).rstrip("/")
        self._model = model
        self._field = options.image_field
        # Less than our own timeout, so that it is Replicate who ends the wait, and names the prediction.
        self._held = max(1, min(MOST_HELD, int(options.timeout * 0.75)))
        self._running: dict[str, str] = {}

    def image(self, connection: Connection, jpeg: bytes) -> tuple[Any, str]:
        """See `Service`."""
        uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        return self._predict(connection, {self._field: uri})

    def text(self, connection: Connection, text: str) -> tuple[Any, str]:
        """See `Service`."""
        return self._predict(connection, {"text": text})

    def _predict(self, connection: Connection, given: dict[str, str]) -> tuple[Any, str]:
        body = json.dumps({"version": self._model, "input": given}).encode()
        key = hashlib.sha256(body).hexdigest()
        address = self._running.get(key)
        if address is None:
            headers = {"Content-Type": "application/json", "Prefer": f"wait={self._held}"}
            prediction = connection.ask("POST", f"{self._base}/predictions", billed=True, content=body, headers=headers)
        else:
            try:
                prediction = connection.ask("GET", address, billed=False)
            except (Refused, Unexpected) as error:
                # Replicate forgets predictions after an hour.
                # Another thread may have had the same answer about the same pixels.
                self._running.pop(key, None)
                raise Unanswered(f"the prediction cannot be asked for any more ({error})", shared=False) from error
        return self._output(key, prediction)

    def _output(self, key: str, prediction: Any) -> tuple[Any, str]:
        if not isinstance(prediction, dict) or "status" not in prediction:
            raise Unexpected("the answer is no prediction: it has no 'status'")
        status = prediction["status"]
        if status in ("starting", "processing", "queued"):
            self._running[key] = self._address(prediction)
            raise Unanswered(f"the prediction {prediction.get('id', '')} is {status}", wait=POLL_SECONDS, shared=False)
        self._running.pop(key, None)
        if status == "succeeded":
            return prediction.get("output"), str(prediction.get("version") or "")
        said = " ".join(str(prediction.get("error") or "no reason given").split())[:200]
        raise Unanswered(f"the prediction {prediction.get('id', '')} {status}: {said}", suspicious=status == "failed")

    def _address(self, prediction: dict[str, Any]) -> str:
        """Where to ask for a prediction: what it says itself, unless that would take the token to another host."""
        urls = prediction.get("urls")
        address = str(urls.get("get", "")) if isinstance(urls, dict) else ""
        if urlsplit(address)[:2] == urlsplit(self._base)[:2]:
            return address
        return f"{self._base}/predictions/{prediction.get('id', '')}"
