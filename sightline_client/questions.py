"""What a search starts from."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Words:
    """Images that words describe. `weight` tells how much it counts among several examples."""

    text: str
    weight: float = 1.0

    def on_wire(self) -> dict[str, Any]:
        """As the API reads it."""
        return {"text": self.text, "weight": self.weight}


@dataclass(frozen=True)
class Indexed:
    """Images like one that is indexed."""

    id: UUID
    weight: float = 1.0

    def on_wire(self) -> dict[str, Any]:
        """As the API reads it."""
        return {"id": str(self.id), "weight": self.weight}


@dataclass(frozen=True)
class Picture:
    """Images like this file."""

    data: bytes
    weight: float = 1.0

    @classmethod
    def read(cls, path: Path | str, weight: float = 1.0) -> "Picture":
        """From a file. Raises `OSError`."""
        return cls(Path(path).read_bytes(), weight)

    def on_wire(self) -> dict[str, Any]:
        """As the API reads it."""
        return {"image_base64": base64.b64encode(self.data).decode("ascii"), "weight": self.weight}


@dataclass(frozen=True)
class Url:
    """Images like the one at an address that the service can reach."""

    url: str
    weight: float = 1.0

    def on_wire(self) -> dict[str, Any]:
        """As the API reads it."""
        return {"url": self.url, "weight": self.weight}


Question = Words | Indexed | Picture | Url


def question_of(given: "str | Question") -> Question:
    """A question; a bare text is words."""
    return Words(given) if isinstance(given, str) else given
