"""Whether the ETags of a listing can tell a change at all."""

from schemas.errors import ConfigurationError

CONSTANT_ETAG_SIZES = 20
"""A store that gives one ETag to objects of this many different sizes does not tell changes by ETags."""


class EtagCheck:
    """Notices a store whose ETags say nothing."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._only: str | None = None
        self._sizes: set[int] = set()
        self._varies = False

    def see(self, key: str, etag: str, size: int) -> None:
        """Raises `ConfigurationError` for an empty ETag, and once enough sizes share one ETag."""
        if not etag:
            raise ConfigurationError(
                f"{self._where} lists {key} without an ETag, so that no change could be noticed; "
                "use a store, or a gateway, that gives every object an ETag"
            )
        if self._varies:
            return
        if self._only not in (None, etag):
            self._varies = True
            self._sizes.clear()
            return
        self._only = etag
        self._sizes.add(size)
        if len(self._sizes) >= CONSTANT_ETAG_SIZES:
            raise ConfigurationError(
                f"{self._where} gives objects of {len(self._sizes)} different sizes the same ETag {etag!r}, so that "
                "no change could be noticed; use a store, or a gateway, whose ETags change with the bytes"
            )
