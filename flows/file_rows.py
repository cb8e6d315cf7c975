"""The records of files as batches: Parquet, or JSON with a record a line, in their order.

The columns are those of the table `logs`, or a producer's own fields. `timestamp`, `service_id` and
`level` are needed. Without `arrival` a record arrives at its own time, or at that of the one before
it if that is later. Without `partition` all are of one.
"""

import gzip
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Final

import msgspec
import polars as pl
from backports import zstd
from msgspec import Meta, Struct

from tocsin.errors import FileUnusable
from tocsin.mistakes import in_words
from tocsin.records import EPOCH, LEVELS, RecordId, ServiceId

ROWS_AT_ONCE: Final = 20_000
_NEEDED: Final = ("timestamp", "service_id", "level")
_OPTIONAL: Final = ("arrival", "partition", "id")
_LINES: Final = (".ndjson", ".jsonl", ".json")

Row = tuple[int | None, str | None, str | None, int | None, int, str | None]
"""(time in us, service, level, arrival in ms, partition, id); None for what cannot be read."""
Rows = Iterator[tuple[list[Row], float]]
"""Many rows at once, each with how much of its file is read by then, from 0 to 1."""


class _Line(Struct):
    """What is read of a line; other fields are passed over."""

    timestamp: Annotated[datetime, Meta(tz=True)]
    service_id: ServiceId
    level: str
    arrival: Annotated[datetime, Meta(tz=True)] | None = None
    partition: int = 0
    id: RecordId | None = None


_decode = msgspec.json.Decoder(_Line).decode


def read_rows(path: Path) -> Rows:
    """Yield a file's rows. Raises FileUnusable, at once if it cannot be one of records."""
    stem = path.with_suffix("") if path.suffix in {".gz", ".zst"} else path
    try:
        size = max(path.stat().st_size, 1)
        if path.suffix == ".parquet":
            return _parquet_rows(path)
        if stem.suffix in _LINES:
            return _line_rows(path, size)
    except OSError as error:
        raise FileUnusable(f"{path}: {error.strerror}") from None
    raise FileUnusable(
        f"{path}: give a file .parquet, .ndjson, .jsonl or .json, the last three also .gz or .zst"
    )


def _line_rows(path: Path, size: int) -> Rows:
    number = 0
    try:
        with path.open("rb") as raw, _unpacked(path, raw) as lines:
            while batch := lines.readlines(ROWS_AT_ONCE * 200):
                rows = []
                for line in batch:
                    number += 1
                    if not line.isspace():
                        rows.append(_row(path, number, line))
                # Of a pipe it is not known.
                yield rows, raw.tell() / size if raw.seekable() else 0.0
    except (OSError, EOFError, zlib.error, zstd.ZstdError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileUnusable(f"{path}: cannot be read after line {number}: {reason}") from None


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes] | gzip.GzipFile | zstd.ZstdFile:
    if path.suffix == ".gz":
        return gzip.open(raw)
    if path.suffix == ".zst":
        return zstd.open(raw)
    return raw


def _row(path: Path, number: int, text: bytes) -> Row:
    try:
        line = _decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        if number == 1:
            # What its first line is not, none of them will be.
            reason = " ".join(in_words(str(error)).split())
            if text.lstrip().startswith(b"["):
                reason = "it begins a list; write a record a line, as `jq -c '.[]'` does"
            raise FileUnusable(f"{path}: line 1 is no record: {reason}") from None
        return None, None, None, None, 0, None
    arrival_ms = None if line.arrival is None else _us(line.arrival) // 1000
    return (
        _us(line.timestamp),
        line.service_id,
        _level(line.level),
        arrival_ms,
        line.partition,
        line.id,
    )


def _us(time: datetime) -> int:
    since = time - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _level(name: str | None) -> str | None:
    return None if name is None else LEVELS.get(name) or LEVELS.get(name.upper())


def _parquet_rows(path: Path) -> Rows:
    try:
        scan = pl.scan_parquet(path)
        schema = scan.collect_schema()
        total = max(int(scan.select(pl.len()).collect().item()), 1)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FileUnusable(f"{path}: cannot be read as Parquet: {_first_line(error)}") from None
    missing = [name for name in _NEEDED if name not in schema]
    if missing:
        raise FileUnusable(
            f"{path}: has no column {missing[0]}; it takes {', '.join(_NEEDED)},"
            f" and {', '.join(_OPTIONAL)} if there"
        )
    columns = [
        _time(path, schema, "timestamp", 1),
        _text(path, schema, "service_id"),
        _text(path, schema, "level"),
        _time(path, schema, "arrival", 1000),
        pl.col("partition").cast(pl.Int64).fill_null(0)
        if "partition" in schema
        else pl.lit(0).alias("partition"),
        _text(path, schema, "id"),
    ]
    return _chunks(path, scan.select(columns), total)


def _chunks(path: Path, scan: pl.LazyFrame, total: int) -> Rows:
    done = 0
    try:
        for frame in scan.collect_batches(chunk_size=ROWS_AT_ONCE, maintain_order=True):
            done += frame.height
            rows: list[Any] = frame.with_columns(
                pl.col("level").replace_strict(_levels(frame), default=None, return_dtype=pl.String)
            ).rows()
            yield rows, done / total
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FileUnusable(
            f"{path}: cannot be read after row {done}: {_first_line(error)}"
        ) from None


def _levels(frame: pl.DataFrame) -> dict[str, str | None]:
    names = frame["level"].unique().drop_nulls().to_list()
    return {name: _level(name) for name in names} or {"INFO": "INFO"}


def _text(path: Path, schema: pl.Schema, name: str) -> pl.Expr:
    if name not in schema:
        return pl.lit(None, dtype=pl.String).alias(name)
    if not (schema[name] == pl.String or isinstance(schema[name], (pl.Categorical, pl.Enum))):
        raise FileUnusable(f"{path}: the column {name} is {schema[name]}, not text")
    return pl.col(name).cast(pl.String)


def _time(path: Path, schema: pl.Schema, name: str, unit_us: int) -> pl.Expr:
    """Return a time as a number of so many microseconds; one without a zone is UTC."""
    if name not in schema:
        return pl.lit(None, dtype=pl.Int64).alias(name)
    column = pl.col(name)
    if schema[name] == pl.String:
        column = column.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    elif not isinstance(schema[name], pl.Datetime):
        raise FileUnusable(f"{path}: the column {name} is {schema[name]}, not a time")
    return column.dt.epoch("us").floordiv(unit_us).alias(name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
