"""Tables as files: read in slices of time, as of one moment, and written as they come."""

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any, Final, Literal

import polars as pl
import psycopg
from polars.io.plugins import register_io_source

from sql.statements import statements
from tocsin.errors import StorageError
from tocsin.signals import heard

Table = Literal["logs", "logs_by_arrival", "windows", "incidents"]
Progress = Callable[[int, int, int], None]
"""Told after each piece: slices done, slices in all, rows so far."""

_SQL = statements("export")
_ROWS_AT_ONCE = 20_000
_LOOKS_EVERY_S = 0.1
# So long that a slice's sort fits into memory, or nearly.
_SLICES: Final[dict[Table, timedelta]] = {
    "logs": timedelta(hours=1),
    "logs_by_arrival": timedelta(hours=1),
    "windows": timedelta(days=1),
    "incidents": timedelta(days=30),
}
_TYPES: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "bool": pl.Boolean,
    "float8": pl.Float64,
    "int2": pl.Int16,
    "int4": pl.Int32,
    "int8": pl.Int64,
    "text": pl.String,
    "timestamptz": pl.Datetime("us", "UTC"),
}
SUFFIXES: Final = (".parquet", ".csv")


def export(
    conn: psycopg.Connection,
    table: Table,
    path: Path,
    *,
    since: datetime | None,
    until: datetime | None,
    progress: Progress,
) -> int:
    """Write a table's rows of a time to a file, Parquet or CSV by its suffix; return how many.

    Memory stays flat. The file appears when it is whole, in place of one of the same name.
    since, until: None for all there is. Raises StorageError.
    """
    with conn.transaction(), _named(path), _whole_or_not_at_all(path) as partial:
        conn.execute(_SQL["begin_snapshot"])
        pieces = _Pieces(conn, table, _cuts(conn, table, since, until), progress)
        frame = register_io_source(pieces.read, schema=pieces.schema)
        try:
            _sink_beside(frame, partial, path.suffix, pieces)
        except pl.exceptions.PolarsError as error:
            raise (pieces.failure or StorageError(f"{path}: {error}")) from None
    return pieces.rows


class _Pieces:
    """The rows as polars asks for them.

    rows: how many so far. failure: why there are no more, which polars would wrap up.
    """

    def __init__(
        self, conn: psycopg.Connection, table: Table, cuts: list[datetime], progress: Progress
    ) -> None:
        self.schema = _schema(conn, table)
        self.rows = 0
        self.failure: Exception | None = None
        self._conn = conn
        self._is_ended = False
        self._table = table
        self._cuts = cuts
        self._progress = progress

    def read(self, *_: object) -> Iterator[pl.DataFrame]:
        """Yield all pieces, whatever columns and rows polars would be content with."""
        try:
            for done, rows in _slices(self._conn, self._table, self._cuts):
                if self._is_ended:
                    return
                self.rows += len(rows)
                yield pl.DataFrame(rows, schema=self.schema, orient="row")
                self._progress(done, len(self._cuts) - 1, self.rows)
        except Exception as error:
            self.failure = error
            raise

    def end(self) -> None:
        """Yield no more, and wait for no answer of the database."""
        self._is_ended = True
        self._conn.cancel_safe()


def _sink_beside(frame: pl.LazyFrame, path: Path, suffix: str, pieces: _Pieces) -> None:
    """Write the frame in a thread of its own, so that this one hears a signal at once.

    Polars would look at it between two pieces only. It also lets the kernel go on with what the
    signal interrupted, so that a wait without an end would never hear it.
    """
    stopping = Event()
    with heard(lambda _: stopping.set()), ThreadPoolExecutor(1) as beside:
        sinking = beside.submit(_sink, frame, path, suffix)
        while not wait([sinking], timeout=_LOOKS_EVERY_S).done:
            if stopping.is_set():
                pieces.end()
                raise KeyboardInterrupt
        sinking.result()


def _slices(
    conn: psycopg.Connection, table: Table, cuts: list[datetime]
) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Yield the rows between each two cuts, so many at once, with how many slices are done."""
    for done, (since, until) in enumerate(pairwise(cuts), 1):
        with conn.cursor("export") as cursor:
            cursor.execute(_SQL[f"export_{table}"], {"since": since, "until": until})
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                yield done - 1, rows
        yield done, []


def _cuts(
    conn: psycopg.Connection, table: Table, since: datetime | None, until: datetime | None
) -> list[datetime]:
    """Return where slices begin and end, in order; none where there is nothing."""
    [(first, last)] = conn.execute(_SQL[f"select_bounds_of_{table}"]).fetchall()
    if first is None:
        return []
    first, last = max(first, since or first), min(last, until or last)
    cuts = []
    while first < last:
        cuts.append(first)
        first += _SLICES[table]
    return [*cuts, last] if cuts else []


def _schema(conn: psycopg.Connection, table: Table) -> dict[str, Any]:
    """Return the columns' types, as the statement itself gives them."""
    nothing = {"since": None, "until": None}
    columns = conn.execute(_SQL[f"export_{table}"], nothing).description or ()
    names = {column.type_code: psycopg.adapters.types[column.type_code].name for column in columns}
    return {column.name: _TYPES[names[column.type_code]] for column in columns}


def _sink(frame: pl.LazyFrame, path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        frame.sink_parquet(path, compression="zstd")
    else:
        frame.sink_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """Lend a file beside the one that is wanted, which takes its name when all went well.

    What a killed process leaves behind has a name of its own, with a dot before and without suffix.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say in one line what the disk or the database refuses."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from None
    except psycopg.Error as error:
        reason = error.diag.message_primary or " ".join(str(error).split())
        raise StorageError(f"the database refuses: {reason}") from None
