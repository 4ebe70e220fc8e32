"""Query parameters: how results are narrowed down and ordered, and pages through what is indexed.

Unknown parameters are refused rather than ignored: a mistyped filter would silently answer more than
was asked for.
"""

from enum import StrEnum
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from schemas.collection import Status
from services.search.filters.conditions import Conditions
from services.search.filters.filter_json import filter_of_text
from services.search.limits import DATED_DEPTH, FILTER_CHARACTERS, RANKING_DEPTH
from services.search.problems import bad_parameter, bad_parameters
from stores.filters import AllOf, Filter, RangeField
from stores.vectors import Where

MAX_LIMIT = 1000


class StatusChoice(StrEnum):
    """The statuses that may be asked for: each of `Status`, or any."""

    INDEXED = Status.INDEXED.value
    REJECTED = Status.REJECTED.value
    GONE = Status.GONE.value
    ANY = "any"

    @property
    def status(self) -> Status | None:
        """The status that a point must have; None for any."""
        return None if self is StatusChoice.ANY else Status(self.value)


class Sort(StrEnum):
    """The order of search results."""

    RELEVANCE = "relevance"
    NEWEST_TAKEN = "newest_taken"
    OLDEST_TAKEN = "oldest_taken"
    NEWEST_UPLOADED = "newest_uploaded"
    OLDEST_UPLOADED = "oldest_uploaded"

    @property
    def date(self) -> RangeField | None:
        """The date that orders; None for the order of relevance."""
        return _date_of(self)

    @property
    def newest_first(self) -> bool:
        """Whether the greatest date comes first."""
        return self.value.startswith("newest")


class ListSort(StrEnum):
    """The order of a listing."""

    ID = "id"
    NEWEST_TAKEN = "newest_taken"
    OLDEST_TAKEN = "oldest_taken"
    NEWEST_UPLOADED = "newest_uploaded"
    OLDEST_UPLOADED = "oldest_uploaded"
    NEWEST_INDEXED = "newest_indexed"

    @property
    def date(self) -> RangeField | None:
        """The date that orders; None for the order of ids."""
        return _date_of(self)

    @property
    def newest_first(self) -> bool:
        """Whether the greatest date comes first."""
        return self.value.startswith("newest")


class Filters(Conditions):
    """Which images are meant: the conditions, and a filter in JSON; all of them hold."""

    filter: str | None = Field(
        None,
        max_length=FILTER_CHARACTERS,
        description="Conditions that nest, as JSON: an object with any of the other conditions, or "
        '`{"all": [...]}`, `{"any": [...]}`, `{"not": {...}}`.',
        examples=['{"any":[{"tag":"beach"},{"not":{"camera":"Canon EOS R6"}}]}'],
    )

    def condition(self, *more: Filter) -> AllOf:
        """All that must hold, and `more`. Raises `Problem` 422 for a filter that cannot be read."""
        nested = () if self.filter is None else (filter_of_text(self.filter),)
        return AllOf((*self.parts(), *nested, *more))

    def where(self, *more: Filter, status: Status | None = Status.INDEXED, without: tuple[UUID, ...] = ()) -> Where:
        """The condition on points. Raises `Problem` 422 for a filter that cannot be read."""
        condition = self.condition(*more)
        return Where(status=status, filter=condition if condition.parts else None, without=without)


class Ranking(Filters):
    """Which images fit a query."""

    threshold: float | None = Field(
        None, ge=-1, le=1, allow_inf_nan=False, description="The least cosine similarity of a result."
    )
    good_only: bool = Field(False, description="Leave out what fits the query no better than any image would.")
    fold: bool = Field(True, description="Answer near-duplicates as one result, with their number.")


class SearchOptions(Ranking):
    """How a search is narrowed down, ordered and paged through."""

    limit: int = Field(20, ge=1, le=MAX_LIMIT, description="At most so many results a page.")
    cursor: str | None = Field(
        None,
        max_length=1000,
        description=f"`next_cursor` of the page before, with the same search. Pages reach the best {RANKING_DEPTH:,}.",
    )
    sort: Sort = Field(
        Sort.RELEVANCE,
        description=f"Best first, or by a date the best {DATED_DEPTH:,} that `threshold` and `good_only` leave; those "
        "without that date come last. To have all images by date, without words: `GET /v1/images?sort=`.",
    )


class WordSearchOptions(SearchOptions):
    """A search by words in the address line."""

    q: str = Field(description="What to look for, in words.", examples=["a red bicycle in the rain"])


class ListOptions(Filters):
    """A page of images."""

    limit: int = Field(100, ge=1, le=MAX_LIMIT, description="At most so many images a page.")
    cursor: str | None = Field(
        None, max_length=1000, description="`next_cursor` of the page before, with the same conditions."
    )
    status: StatusChoice = Field(
        StatusChoice.INDEXED, description="Which images: those that searches find, rejected with a reason, gone, any."
    )
    sort: ListSort = Field(
        ListSort.ID, description="In the order of ids, or by a date; images without that date come last, by id."
    )


class ImageOptions(BaseModel):
    """One image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vector: bool = Field(False, description="Answer its vector too.")
    status: StatusChoice = Field(StatusChoice.INDEXED, description="The status that it must have.")


async def each_once(request: Request) -> None:
    """`refuse_repeated` as a dependency; for one that is no coroutine FastAPI would wait for a thread."""
    refuse_repeated(request)


def refuse_repeated(request: Request) -> None:
    """Refuse a query string that is not UTF-8, or has a parameter twice, where one value would silently win."""
    query = bytes(request.scope["query_string"])
    try:
        names = [name for name, _ in parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")]
    except UnicodeDecodeError:
        raise bad_parameter("query string", "it is not UTF-8, percent-encoded") from None
    except ValueError as error:
        raise bad_parameter("query string", str(error)) from None
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise bad_parameters([{"field": name[:60], "problem": "it was given more than once"} for name in repeated[:20]])


def _date_of(sort: StrEnum) -> RangeField | None:
    dates = {"taken": RangeField.TAKEN_AT, "uploaded": RangeField.UPLOADED_AT, "indexed": RangeField.INDEXED_AT}
    return dates.get(sort.value.rpartition("_")[2])
