"""Requests as data, so that both clients send the very same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sightline_client.filters import Filter
from sightline_client.questions import Question, question_of

Params = Mapping[str, str | int | float | bool]
Asked = str | Question | None


@dataclass(frozen=True)
class Call:
    """One HTTP request; `files` are fields of a multipart form with their bytes."""

    method: str
    path: str
    params: Params = field(default_factory=dict)
    body: Any = None
    files: Mapping[str, tuple[str, bytes, str]] | None = None

    def at(self, cursor: str | None) -> "Call":
        """The same for the page at a cursor."""
        return self if cursor is None else replace(self, params={**self.params, "cursor": cursor})


def search(
    question: Asked,
    *,
    like: Sequence[str | Question],
    unlike: Sequence[str | Question],
    only: Filter | None,
    limit: int,
    threshold: float | None,
    sort: str,
    good_only: bool,
    fold: bool,
) -> Call:
    """A search. Raises `ValueError` when there is nothing to search for."""
    liked = [*([] if question is None else [question]), *like]
    if not liked:
        besides = "; `unlike` only tells what to keep away from" if unlike else ""
        raise ValueError(f"say what to look for: words, a picture, an indexed image, or examples in `like`{besides}")
    first = question_of(liked[0])
    if len(liked) == 1 and not unlike and first.weight == 1.0:
        body = {name: value for name, value in first.on_wire().items() if name != "weight"}
    else:
        body = {"like": _examples(liked), "unlike": _examples(unlike)}
    if only:
        body["filter"] = only.tree
    params = _given(limit=limit, threshold=threshold, sort=sort, good_only=good_only, fold=fold)
    return Call("POST", "/v1/search", params, body)


def images(*, only: Filter | None, status: str, sort: str, limit: int) -> Call:
    """A listing."""
    return Call("GET", "/v1/images", {**_given(status=status, sort=sort, limit=limit), **_filtered(only)})


def image(image: UUID, *, vector: bool) -> Call:
    """One image."""
    return Call("GET", f"/v1/images/{image}", _given(vector=vector, status="any"))


def timeline(image: UUID) -> Call:
    """What happened to an image."""
    return Call("GET", f"/v1/images/{image}/timeline")


def original(image: UUID) -> Call:
    """The bytes of an image."""
    return Call("GET", f"/v1/images/{image}/original")


def thumbnail(image: UUID, size: int) -> Call:
    """A small picture of an image."""
    return Call("GET", f"/v1/images/{image}/thumbnail", {"size": size})


def retry(image: UUID) -> Call:
    """Another look at an image."""
    return Call("POST", f"/v1/images/{image}/retry")


def tags(only: Filter | None, limit: int) -> Call:
    """Tags with counts."""
    return Call("GET", "/v1/tags", {"limit": limit, **_filtered(only)})


def facets(name: str, only: Filter | None, limit: int) -> Call:
    """Values of a field with counts."""
    return Call("GET", "/v1/facets", {"field": name, "limit": limit, **_filtered(only)})


def statistics(per: str, date: str, only: Filter | None) -> Call:
    """Images per day, month, year, bucket or camera."""
    return Call("GET", "/v1/statistics", {"per": per, "date": date, **_filtered(only)})


def duplicates(kind: str, limit: int) -> Call:
    """Groups of duplicates."""
    return Call("GET", "/v1/duplicates", {"kind": kind, "limit": limit})


def export(
    format: str,  # noqa: A002 - the word of the API
    words: str | None,
    limit: int | None,
    only: Filter | None,
) -> Call:
    """A download of results or of everything."""
    return Call("GET", "/v1/export", {**_given(format=format, q=words, limit=limit), **_filtered(only)})


def status() -> Call:
    """What runs."""
    return Call("GET", "/v1/status")


def embed_texts(texts: Sequence[str]) -> Call:
    """Vectors of texts."""
    return Call("POST", "/embed/texts", body={"texts": list(texts)})


def embed_image(data: bytes, name: str) -> Call:
    """The vector of an image."""
    return Call("POST", "/embed/image", files={"file": (name, data, "application/octet-stream")})


def _examples(given: Sequence[str | Question]) -> list[dict[str, Any]]:
    return [question_of(one).on_wire() for one in given]


def _filtered(only: Filter | None) -> dict[str, str]:
    return {"filter": json.dumps(only.tree, ensure_ascii=False)} if only else {}


def _given(**values: str | int | float | bool | None) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in values.items() if value is not None}
