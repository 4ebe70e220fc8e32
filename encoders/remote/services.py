"""Hugging Face and servers of one's own: one request, one answer. (Replicate has a module for itself.)"""

import re
from typing import Any, Protocol

from encoders.encoder import Modality, TakesNoWords
from encoders.remote.connection import Connection
from encoders.remote.options import HF_TOKEN, SELF_HOSTED_TOKEN, RemoteOptions
from schemas.errors import ConfigurationError

HUGGING_FACE = "https://router.huggingface.co/hf-inference"


class Service(Protocol):
    """A place where models run, and how it is asked. Methods raise what `Connection.ask` raises."""

    @property
    def name(self) -> str:
        """A short label for metrics and sentences."""
        ...

    @property
    def variable(self) -> str:
        """The environment variable of its token."""
        ...

    @property
    def needs_token(self) -> bool:
        """Whether it is certain that nothing works without one."""
        ...

    @property
    def modality(self) -> Modality:
        """What it takes."""
        ...

    @property
    def promises_words(self) -> bool:
        """Whether the settings say that it takes words; otherwise only asking the model tells."""
        ...

    def image(self, connection: Connection, jpeg: bytes) -> tuple[Any, str]:
        """The JSON with a picture's vector, and the version of the model where the service tells it, else ""."""
        ...

    def text(self, connection: Connection, text: str) -> tuple[Any, str]:
        """The same for words."""
        ...


class HuggingFace:
    """The inference API, or an Inference Endpoint at `options.url`: raw bytes in, the feature-extraction task."""

    name = "huggingface"
    variable = HF_TOKEN
    modality = Modality.IMAGES_AND_WORDS
    promises_words = False

    def __init__(self, model: str, options: RemoteOptions) -> None:
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
            raise ConfigurationError(
                f"{model!r} is no model of Hugging Face; write huggingface:OWNER/NAME, for example "
                "huggingface:openai/clip-vit-base-patch32"
            )
        self.needs_token = not options.url
        self._url = options.url or f"{HUGGING_FACE}/models/{model}/pipeline/feature-extraction"

    def image(self, connection: Connection, jpeg: bytes) -> tuple[Any, str]:
        """See `Service`."""
        return connection.ask("POST", self._url, billed=True, content=jpeg, headers={"Content-Type": "image/jpeg"}), ""

    def text(self, connection: Connection, text: str) -> tuple[Any, str]:
        """See `Service`."""
        return connection.ask("POST", self._url, billed=True, json={"inputs": text}), ""


class SelfHosted:
    """A server that takes `POST url` with a multipart field and answers `{"embedding": [..]}`.

    With `text_url` it takes words too, as `{"text": ".."}`.
    """

    name = "self-hosted"
    variable = SELF_HOSTED_TOKEN
    needs_token = False

    def __init__(self, model: str, options: RemoteOptions) -> None:
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
            raise ConfigurationError(
                f"{model!r} cannot name a model; write self-hosted:NAME with letters, digits, - _ . and the server's "
                "address into SIGHTLINE_REMOTE__URL"
            )
        if not options.url:
            raise ConfigurationError(
                f"where is the server of self-hosted:{model}? Put its address into SIGHTLINE_REMOTE__URL, for example "
                "http://clip:8000/embed"
            )
        self._url, self._text_url, self._field = options.url, options.text_url, options.image_field
        self.promises_words = bool(options.text_url)
        self.modality = Modality.IMAGES_AND_WORDS if options.text_url else Modality.IMAGES

    def image(self, connection: Connection, jpeg: bytes) -> tuple[Any, str]:
        """See `Service`."""
        files = {self._field: ("image.jpg", jpeg, "image/jpeg")}
        return connection.ask("POST", self._url, billed=True, files=files), ""

    def text(self, connection: Connection, text: str) -> tuple[Any, str]:
        """See `Service`."""
        if not self._text_url:
            raise TakesNoWords(
                "this self-hosted model takes images only; search by image, or put the address that takes "
                '{"text": ".."} into SIGHTLINE_REMOTE__TEXT_URL'
            )
        return connection.ask("POST", self._text_url, billed=True, json={"text": text}), ""
