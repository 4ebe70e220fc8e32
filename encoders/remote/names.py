"""From a name such as `replicate:openai/clip` to its encoder."""

from collections.abc import Callable
from urllib.parse import urlsplit

from encoders.remote.encoder import RemoteEncoder
from encoders.remote.options import RemoteOptions
from encoders.remote.replicate import Replicate
from encoders.remote.services import HuggingFace, SelfHosted, Service
from schemas.errors import ConfigurationError

_SERVICES: dict[str, Callable[[str, RemoteOptions], Service]] = {
    "huggingface": HuggingFace,
    "replicate": Replicate,
    "self-hosted": SelfHosted,
}


def is_remote(name: str) -> bool:
    """Whether a name is that of a remote model, or looks as if it was meant for one."""
    return name.partition(":")[0] in _SERVICES or name.startswith(("http://", "https://"))


def make_remote(name: str, options: RemoteOptions) -> RemoteEncoder:
    """The encoder, which has asked nothing yet. Raises `ConfigurationError`."""
    service, _, model = name.partition(":")
    if service not in _SERVICES:
        raise ConfigurationError(
            f"{name} is an address, not a model; choose a name for the model that is served there, write "
            "self-hosted:NAME, and put the address into SIGHTLINE_REMOTE__URL"
        )
    for setting, url in (("SIGHTLINE_REMOTE__URL", options.url), ("SIGHTLINE_REMOTE__TEXT_URL", options.text_url)):
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ConfigurationError(f"{setting} is no address; write for example http://clip:8000/embed")
        if urlsplit(url).username is not None or urlsplit(url).password is not None:
            raise ConfigurationError(
                f"{setting} holds a user name or a password, which would be shown; put a token into the environment"
            )
    return RemoteEncoder(name, _SERVICES[service](model, options), options)
