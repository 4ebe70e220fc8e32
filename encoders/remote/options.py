"""How a remote encoder is asked, apart from which one it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encoders.remote.clock import Clock
from encoders.remote.token import Token

HF_TOKEN = "HF_TOKEN"  # noqa: S105 -- the variable's name
REPLICATE_API_TOKEN = "REPLICATE_API_TOKEN"  # noqa: S105 -- the variable's name
SELF_HOSTED_TOKEN = "SIGHTLINE_REMOTE__TOKEN"  # noqa: S105 -- the variable's name


def _silent(_: str) -> None:
    """For those who want to hear nothing."""


@dataclass(frozen=True, kw_only=True)
class RemoteOptions:
    """`runtime.encoder_settings.RemoteSettings` explains the first ones, under the same names.

    `tokens` are by environment variable; `ledger` is the file that remembers what was spent, none: this process
    alone does; `notice` is told, in sentences, why a start takes long.
    """

    url: str = ""
    text_url: str = ""
    image_field: str = "image"
    side: int = 512
    max_bytes: int = 180_000
    concurrency: int = 4
    timeout: float = 60.0
    patience: float = 15.0
    start_patience: float = 300.0
    dollars_per_image: float = 0.0
    budget_images: int | None = None
    budget_dollars: float | None = None
    tokens: Mapping[str, Token] = field(default_factory=dict)
    ledger: Path | None = None
    notice: Callable[[str], None] = _silent
    clock: Clock = field(default_factory=Clock)

    def token(self, variable: str) -> Token:
        """The token of a variable, empty where it is not set."""
        return self.tokens.get(variable) or Token(variable, "")
