"""All images that match, page by page: in the order of their ids, or by a date."""

from services.search.collection import Collection
from services.search.filters.options import ListOptions
from services.search.ranking.paging import digest_of, foreign_cursor, unwrapped, wrapped
from stores.filters import Between, Not, RangeField
from stores.vectors import Page, VectorIndex, Where

_DATED, _UNDATED = "d", "u"


class Listing:
    """Pages through one index. While there is no collection yet, a page is empty, and that is no error."""

    def __init__(self, index: VectorIndex, collection: Collection) -> None:
        self._index = index
        self._collection = collection

    async def page(self, options: ListOptions) -> Page:
        """A page of all images that match; those without the date that orders them come last, in the order of ids.

        Raises `Problem` 422 for a cursor that is none of this listing's, and `DependencyUnavailable`.
        """
        where, date = options.where(status=options.status.status), options.sort.date
        digest = digest_of("listing", where, options.sort)
        cursor = None if options.cursor is None else unwrapped(options.cursor, digest)
        if await self._collection.metadata() is None:
            return Page([], None)
        try:
            if date is None:
                page = await self._index.scroll(where, limit=options.limit, cursor=cursor)
            else:
                page = await self._by_date(date, where, options, cursor)
        except ValueError:
            raise foreign_cursor() from None
        return Page(page.points, None if page.cursor is None else wrapped(page.cursor, digest))

    async def _by_date(self, date: RangeField, where: Where, options: ListOptions, cursor: str | None) -> Page:
        phase, inner = (cursor[:1], cursor[1:] or None) if cursor else (_DATED, None)
        if phase == _UNDATED:
            return _of_phase(_UNDATED, await self._undated(date, options, options.limit, inner))
        dated = await self._index.scroll_by(
            date, where, descending=options.sort.newest_first, limit=options.limit, cursor=inner
        )
        if dated.cursor is not None:
            return _of_phase(_DATED, dated)
        missing = options.limit - len(dated.points)
        undated = await self._undated(date, options, max(missing, 1), None)
        if missing == 0:
            return Page(dated.points, _UNDATED if undated.points else None)
        return _of_phase(_UNDATED, Page([*dated.points, *undated.points], undated.cursor))

    async def _undated(self, date: RangeField, options: ListOptions, limit: int, cursor: str | None) -> Page:
        where = options.where(Not(Between(date)), status=options.status.status)
        return await self._index.scroll(where, limit=limit, cursor=cursor)


def _of_phase(phase: str, page: Page) -> Page:
    return Page(page.points, None if page.cursor is None else phase + page.cursor)
