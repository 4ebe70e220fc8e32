"""Images as rows of a file: CSV, JSON Lines or Parquet, each made piece by piece, so that no size is too large."""

import csv
import importlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from pydantic_core import to_json

from schemas.collection import PointPayload
from services.search.problems import Problem, ProblemKind

COLUMNS = (
    *("id", "source", "bucket", "key", "score", "relevance", "duplicates", "tags"),
    *("taken_at", "uploaded_at", "indexed_at", "size", "width", "height", "format", "camera", "latitude", "longitude"),
    *("content_type", "etag", "sha256"),
)

ROW_GROUP = 5_000
"""Rows that Parquet keeps together; so many are held in memory."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet compute a cell instead of showing it; East Asian ones read the wide forms alike."""

Row = Mapping[str, Any]


class ExportFormat(StrEnum):
    """The formats of an export."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """What the answer's Content-Type says."""
        return {
            ExportFormat.CSV: "text/csv; charset=utf-8; header=present",
            ExportFormat.JSONL: "application/jsonl",
            ExportFormat.PARQUET: "application/vnd.apache.parquet",
        }[self]


class RowWriter(Protocol):
    """Makes the bytes of a file out of rows."""

    def rows(self, rows: Sequence[Row]) -> bytes:
        """The bytes that these rows add; none where they are kept until there are more."""
        ...

    def end(self) -> bytes:
        """The last bytes."""
        ...


def row_of(
    point: UUID, payload: PointPayload, score: float | None = None, relevance: float | None = None, duplicates: int = 0
) -> Row:
    """An image by the names of `COLUMNS`. Score and relevance are None where nothing was searched for."""
    place = payload.location
    known = {name: getattr(payload, name, None) for name in COLUMNS}
    return known | {
        "id": str(point),
        "score": score,
        "relevance": relevance,
        "duplicates": duplicates,
        "tags": [{"tag": one.tag, "score": one.score} for one in payload.tags],
        "latitude": place.lat if place else None,
        "longitude": place.lon if place else None,
    }


def writer_of(kind: ExportFormat) -> RowWriter:
    """A writer. Raises `Problem` 501 for Parquet where pyarrow is not installed."""
    makers: dict[ExportFormat, Callable[[], RowWriter]] = {
        ExportFormat.CSV: CsvWriter,
        ExportFormat.JSONL: JsonLinesWriter,
        ExportFormat.PARQUET: ParquetWriter,
    }
    return makers[kind]()


class CsvWriter:
    """RFC 4180 in UTF-8 with a header. Tags are a JSON object of tag and score in one cell; unknown is empty.

    A text that a spreadsheet would take for a formula gets an apostrophe before it: keys and tags come from
    whoever may upload.
    """

    def __init__(self) -> None:
        self._text = io.StringIO()
        self._cells = csv.writer(self._text)
        self._cells.writerow(COLUMNS)

    def rows(self, rows: Sequence[Row]) -> bytes:
        """The bytes of these rows."""
        self._cells.writerows(_cells(row) for row in rows)
        return self._taken()

    def end(self) -> bytes:
        """The header where there was no row."""
        return self._taken()

    def _taken(self) -> bytes:
        data = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return data


class JsonLinesWriter:
    """One JSON object a line, with every column; unknown is null."""

    def rows(self, rows: Sequence[Row]) -> bytes:
        """The bytes of these rows."""
        return b"".join(to_json(row) + b"\n" for row in rows)

    def end(self) -> bytes:
        """Nothing: the last line is written."""
        return b""


class ParquetWriter:
    """Parquet with row groups of `ROW_GROUP`; tags are a list of structs, times UTC in microseconds."""

    def __init__(self) -> None:
        try:
            self._arrow = importlib.import_module("pyarrow")
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise Problem(
                501,
                ProblemKind.MISCONFIGURED,
                "This service has no pyarrow, which writes Parquet.",
                "Ask for format=csv or format=jsonl; whoever runs this service can install sightline[search].",
            ) from None
        self._schema = _arrow_schema(self._arrow)
        self._sink = _Sink()
        self._file = parquet.ParquetWriter(self._arrow.PythonFile(self._sink, mode="w"), self._schema)
        self._waiting: list[Row] = []

    def rows(self, rows: Sequence[Row]) -> bytes:
        """The bytes of the row groups that are full."""
        self._waiting += rows
        while len(self._waiting) >= ROW_GROUP:
            self._write(ROW_GROUP)
        return self._sink.taken()

    def end(self) -> bytes:
        """The rest and the footer."""
        if self._waiting:
            self._write(len(self._waiting))
        self._file.close()
        return self._sink.taken()

    def _write(self, count: int) -> None:
        self._file.write_table(self._arrow.Table.from_pylist(self._waiting[:count], schema=self._schema))
        del self._waiting[:count]


class _Sink(io.RawIOBase):
    """A file that keeps what was written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        """Parquet's writer asks."""
        return True

    def write(self, data: Any) -> int:
        """Keep bytes; answer how many."""
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Bytes written so far, taken or not."""
        return self._written

    def taken(self) -> bytes:
        """What was written since it was taken last."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def shown(text: str) -> str:
    """A text that a spreadsheet shows as it is: with an apostrophe before what it would take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) or text.lstrip().startswith(_FORMULA_STARTS) else text


def _cells(row: Row) -> Iterable[Any]:
    for name in COLUMNS:
        value = row[name]
        if name == "tags":
            yield to_json({one["tag"]: one["score"] for one in value}).decode()
        elif isinstance(value, datetime):
            yield to_json(value).decode().strip('"')
        else:
            yield shown(value) if isinstance(value, str) else value


def _arrow_schema(arrow: Any) -> Any:
    tag = arrow.struct([("tag", arrow.string()), ("score", arrow.float64())])
    kinds = {
        "tags": arrow.list_(tag),
        **dict.fromkeys(("score", "relevance", "latitude", "longitude"), arrow.float64()),
        **dict.fromkeys(("duplicates", "size", "width", "height"), arrow.int64()),
        **dict.fromkeys(("taken_at", "uploaded_at", "indexed_at"), arrow.timestamp("us", tz="UTC")),
    }
    return arrow.schema([(name, kinds.get(name, arrow.string())) for name in COLUMNS])
