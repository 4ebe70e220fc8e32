"""Filters as JSON: conditions that nest under `all`, `any` and `not`, to what the index understands.

A leaf is an object of conditions that all hold, with the names and the rules of the query parameters:
`{"tag": "beach", "tag_score": 0.5}`. `{"all": [...]}`, `{"any": [...]}` and `{"not": {...}}` hold other filters.
Every error names the path of what is wrong, such as `filter.all.1.tag_score`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.config import JsonDict
from pydantic_core import from_json

from services.search.filters.conditions import Conditions
from services.search.limits import FILTER_CHARACTERS, FILTER_DEPTH, FILTER_LEAVES
from services.search.problems import Problem, bad_parameter, bad_parameters, validation_errors
from stores.filters import AllOf, AnyOf, Filter, Not

JUNCTIONS = ("all", "any", "not")

FILTER_EXAMPLE: JsonDict = {
    "all": [
        {"tag": "beach", "tag_score": 0.5, "taken_after": "2024-01-01"},
        {"any": [{"camera": "Canon EOS R6"}, {"prefix": "holiday/"}]},
        {"not": {"tag": "people"}},
    ]
}

_SHAPE = 'write conditions, like {"tag": "beach"}, or one of {"all": [...]}, {"any": [...]}, {"not": {...}}'


def filter_of_text(text: str) -> Filter:
    """The filter in a query parameter or form field. Raises `Problem` 422 naming the path."""
    if len(text) > FILTER_CHARACTERS:
        raise bad_parameter(
            "filter", f"it has {len(text)} characters; at most {FILTER_CHARACTERS} are read: send it in a JSON body"
        )
    try:
        return filter_of(from_json(text, allow_inf_nan=False))
    except ValueError as error:
        raise bad_parameter("filter", f"it is no JSON: {error}") from None


def filter_of(tree: object, path: str = "filter") -> Filter:
    """The filter that a JSON value stands for. Raises `Problem` 422 naming the path of what is wrong."""
    return _Reading(path).read(tree, path, 1)


class _Reading:
    """One pass over a tree, counting its leaves."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._leaves = 0

    def read(self, node: object, path: str, depth: int) -> Filter:
        if not isinstance(node, Mapping):
            raise bad_parameter(path, f"it is no object; {_SHAPE}")
        junctions = [name for name in JUNCTIONS if name in node]
        if not junctions:
            return self._leaf(node, path)
        if len(node) > 1:
            raise bad_parameter(
                path,
                f"`{junctions[0]}` stands beside other conditions; "
                'put each into an object of its own, as in {"all": [{"tag": "beach"}, {"not": {"tag": "people"}}]}',
            )
        if depth >= FILTER_DEPTH:
            raise bad_parameter(
                path,
                f"it nests deeper than {FILTER_DEPTH} levels; say the same with fewer",
            )
        (junction,) = junctions
        inside, below = node[junction], f"{path}.{junction}"
        if junction == "not":
            return Not(self.read(inside, below, depth + 1))
        parts = self._parts(inside, below, depth)
        return AllOf(parts) if junction == "all" else AnyOf(parts)

    def _parts(self, inside: object, path: str, depth: int) -> tuple[Filter, ...]:
        if not isinstance(inside, Sequence) or isinstance(inside, str):
            raise bad_parameter(path, f"it is no list; {_SHAPE}")
        if not inside:
            raise bad_parameter(path, "it is empty; put at least one condition into it, or leave it out")
        return tuple(self.read(part, f"{path}.{number}", depth + 1) for number, part in enumerate(inside))

    def _leaf(self, node: Mapping[str, Any], path: str) -> Filter:
        self._leaves += 1
        if self._leaves > FILTER_LEAVES:
            raise bad_parameter(self._root, f"it has more than {FILTER_LEAVES} groups of conditions; ask for fewer")
        try:
            parts = Conditions.model_validate(node).parts()
        except ValidationError as error:
            raise _beneath(path, error) from None
        if not parts:
            raise bad_parameter(path, f"it has no condition; {_SHAPE}")
        return parts[0] if len(parts) == 1 else AllOf(parts)


def _beneath(path: str, error: ValidationError) -> Problem:
    errors = validation_errors(error.errors(include_url=False))
    return bad_parameters(
        [{"field": path if one["field"] == "body" else f"{path}.{one['field']}", **_said(one)} for one in errors]
    )


def _said(error: Mapping[str, str]) -> dict[str, str]:
    unknown = error["problem"] == "there is no such parameter"
    return {"problem": f"there is no such condition; {_SHAPE}" if unknown else error["problem"]}
