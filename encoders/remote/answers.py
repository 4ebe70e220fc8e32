"""From a service's JSON to one vector, or a sentence that says what it is instead."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.remote.failures import Unexpected

Numbers = NDArray[np.float64]


def unit_vector(answer: Any) -> Numbers:
    """The vector of shape (d,) in an answer, brought to unit length.

    Understood are `[..]`, `[[..]]`, `{"embedding": [..]}`, `[{"embedding": [..]}]` and `{"embeddings": [[..]]}`.
    Raises `Unexpected`, naming the shape or the number that is none.
    """
    numbers = _one(answer)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise Unexpected(f"the vector holds {_named(number)} where a number belongs")
    try:
        vector = np.array(numbers, dtype=np.float64)
    except OverflowError as error:
        raise Unexpected(f"the vector of {len(numbers)} numbers holds one too large for a float") from error
    if not np.isfinite(vector).all():
        at = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise Unexpected(f"the vector of {len(vector)} numbers is {vector[at]} at position {at}")
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(vector))
    if not length > 0 or not math.isfinite(length):
        raise Unexpected(f"the vector of {len(vector)} numbers has length {length:g}, so it has no direction")
    return vector / length


def _one(answer: Any) -> list[Any]:
    """The single list of numbers, however it is wrapped."""
    inner = answer
    while True:
        if isinstance(inner, dict):
            key = next((key for key in ("embedding", "embeddings") if key in inner), None)
            if key is None:
                raise Unexpected(f"the answer has no 'embedding', only {', '.join(map(repr, list(inner)[:5])) or '{}'}")
            inner = inner[key]
        elif isinstance(inner, list) and len(inner) == 1 and isinstance(inner[0], list | dict):
            inner = inner[0]
        elif not isinstance(inner, list) or not inner:
            raise Unexpected(f"the answer is {_named(inner)} where a vector belongs")
        elif isinstance(inner[0], list | dict):
            raise Unexpected(
                f"the answer holds {_shape(inner)} numbers, one vector for each token or patch, not one for the whole; "
                "choose a model or an endpoint that pools them"
            )
        else:
            return inner


def _shape(nested: Any) -> str:
    lengths = []
    while isinstance(nested, list) and nested:
        lengths.append(str(len(nested)))
        nested = nested[0]
    return " x ".join(lengths)


def _named(value: Any) -> str:
    return f"a {type(value).__name__} ({str(value)[:40]!r})" if value not in ([], None) else repr(value)
