"""Settings with several values in one variable."""

from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Several words in one variable, with commas between them."""

Numbers = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_split)]
"""Several whole numbers in one variable, with commas between them."""


def _split_sentences(value: Any) -> Any:
    return tuple(part.strip() for part in value.split("|") if part.strip()) if isinstance(value, str) else value


Sentences = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_sentences)]
"""Several sentences in one variable, with `|` between them."""
