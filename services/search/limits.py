"""What is too much for one request."""

from dataclasses import dataclass

RANKING_DEPTH = 10_000
"""How far down a ranking pages and exports go."""

DATED_DEPTH = 1_000
"""How many of the best results a search sorted by date puts in the order of their dates."""

STATISTICS_ROWS = 400
"""A year of days and a month; more is a matter for months or years."""

FILTER_DEPTH = 6
FILTER_LEAVES = 64
FILTER_CHARACTERS = 20_000
"""Of a filter in an address line; servers and proxies commonly read no more than that."""


@dataclass(frozen=True, kw_only=True)
class SearchLimits:
    """Bounds on what a client may send; beyond them the answer is 413 or 422, and nothing more is read.

    `image_bytes` bounds one uploaded image, `text_characters` one query or text, `texts` and `urls` one batch of
    them, `examples` what one search is made of, `json_bytes` a JSON body that carries no image.
    """

    image_bytes: int = 64 * 1024 * 1024
    text_characters: int = 4096
    texts: int = 256
    urls: int = 256
    examples: int = 32
    json_bytes: int = 2 * 1024 * 1024

    @property
    def image_body_bytes(self) -> int:
        """A multipart body with one image of `image_bytes`, with its boundaries and headers."""
        return self.image_bytes + 64 * 1024

    @property
    def base64_body_bytes(self) -> int:
        """A JSON body with one image in base64 (4 characters for 3 bytes), with line breaks and escaped slashes."""
        return self.image_bytes * 3 // 2 + 64 * 1024
