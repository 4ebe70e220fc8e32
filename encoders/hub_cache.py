"""What the model hub's cache on this machine holds, and whether the hub itself can be asked."""

import socket
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError

from schemas.errors import ConfigurationError


def find_cached(repository: str, files: Iterable[str]) -> Path | None:
    """The first of the files that the cache has of a repository. Raises `ConfigurationError` for what is no name."""
    for file in files:
        try:
            found = huggingface_hub.try_to_load_from_cache(repository, file, cache_dir=constants.HF_HUB_CACHE)
        except HFValidationError as error:
            raise ConfigurationError(
                f"{repository!r} is no name of a repository on the hub; write OWNER/NAME, as in laion/CLIP-ViT-B-32"
            ) from error
        if isinstance(found, str):
            return Path(found)
    return None


def cache_of(repository: str) -> Path:
    """The folder in which the cache keeps, or would keep, a repository."""
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def obstacle() -> str | None:
    """Why the hub cannot be asked, found in seconds; its own client tries for most of a minute."""
    if constants.HF_HUB_OFFLINE:
        return "downloads are switched off by HF_HUB_OFFLINE"
    address = urlsplit(constants.ENDPOINT)
    if address.scheme in urllib.request.getproxies():
        return None
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=5).close()
    except OSError as error:
        return f"{address.hostname} cannot be reached ({error})"
    return None


def download_command(repository: str, *patterns: str) -> str:
    """The command that brings a repository's files into the cache."""
    return " ".join(["hf download", repository, *(f"--include '{pattern}'" for pattern in patterns)])
