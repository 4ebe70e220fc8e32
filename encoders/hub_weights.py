"""Files of a model that lie on the hub: found in its cache, or the sentence that says how to bring them there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants

from encoders import hub_cache
from encoders.catalogue import OPEN_CLIP_FILES, OPEN_CLIP_PATTERNS, TOWER_FILE, TOWER_PATTERNS
from encoders.checkpoints import check_whole
from schemas.errors import ConfigurationError


@dataclass(frozen=True)
class HubFiles:
    """Files of a repository, any one of which is enough, in the order in which they are asked for.

    `patterns` are what is worth downloading with them, `what` they are in a sentence, `here` how to bring them to a
    machine without a network.
    """

    repository: str
    files: tuple[str, ...] = OPEN_CLIP_FILES
    patterns: tuple[str, ...] = OPEN_CLIP_PATTERNS
    what: str = "the weights"
    here: str = "add `--local-dir FOLDER`, copy that folder, and name it: --model /path/to/FOLDER"

    @property
    def command(self) -> str:
        """What brings them into the cache."""
        return hub_cache.download_command(self.repository, *self.patterns)

    def cached(self) -> Path | None:
        """The first of them that is in the cache. Raises `ConfigurationError` for what is no name of a repository."""
        return hub_cache.find_cached(self.repository, self.files)

    def find(self, model: str, *others: "HubFiles") -> Path | None:
        """The first of them that is in the cache; None where the hub can be asked for it.

        Raises `ConfigurationError`: what is missing, where it was sought, and the commands for it and `others`.
        """
        found = self.cached()
        if found is not None:
            check_whole(found)
            return found
        obstacle = hub_cache.obstacle()
        if obstacle is None:
            return None
        raise ConfigurationError(f"{self.what} of {model} are not on this machine: {self._sought(obstacle, *others)}")

    def not_downloaded(self, model: str, error: BaseException) -> ConfigurationError:
        """What to say when the hub could be asked, and they are not in the cache all the same."""
        status = _status_of(error)
        hub = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT
        if status in (401, 403):
            why = (
                f"{hub} refuses them ({status}). Ask for access on the repository's page where there is a form for "
                "it, then put a token that may read it into HF_TOKEN or run `hf auth login`"
            )
        elif status == 404:
            why = f"{hub} has none of them (404). Check the name"
        else:
            why = f"{hub} answers {status}" if status else _cited(error)
        return ConfigurationError(f"{self.what} of {model} could not be downloaded: {self._sought(why)}")

    def _sought(self, why: str, *others: "HubFiles") -> str:
        commands = " and ".join(f"`{one.command}`" for one in (self, *others))
        return (
            f"looked for {' or '.join(self.files)} of {self.repository} in {hub_cache.cache_of(self.repository)}, and "
            f"{why}. Where there is a network run {commands}; to bring them here {self.here}"
        )


def weights_file(repository: str, file: str, architecture: str) -> HubFiles:
    """Weights of an architecture in a file that is not called as open_clip calls its own."""
    stem, dot, ending = file.rpartition(".")
    # open_clip asks for safetensors of the same name first.
    files = (f"{stem}.safetensors", file) if ending in ("bin", "pth") else (file,)
    first, *rest = OPEN_CLIP_PATTERNS
    here = f"add `--local-dir FOLDER`, copy that folder, and name it: --model {architecture}//path/to/FOLDER"
    return HubFiles(repository, files, (first, f"{stem}{dot}*" if len(files) > 1 else file, *rest), here=here)


def text_tower(config: dict[str, Any] | None) -> HubFiles | None:
    """The description of a text tower that lies in a repository of its own; None where open_clip describes it all."""
    repository = str(((config or {}).get("text_cfg") or {}).get("hf_model_name") or "")
    if not repository or Path(repository).is_dir():
        return None
    here = f"copy the folder {hub_cache.cache_of(repository)} from there"
    return HubFiles(repository, (TOWER_FILE,), TOWER_PATTERNS, "the files of the text tower", here)


def _status_of(error: BaseException | None) -> int | None:
    """What the hub answered; its client's error is behind those of whoever called it."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ or error.__context__
    return None


def _cited(error: BaseException) -> str:
    said, token = " ".join(str(error).split()), huggingface_hub.get_token()
    return (said.replace(token, "***") if token else said)[:300] or type(error).__name__
