"""Files of records are judged like a topic: in the order of arrival, bad ones put aside."""

import gzip
import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from backports import zstd

from flows.backtest import backtest_files
from flows.candidates import candidates_of, default_candidate, grid_of
from flows.course import Course
from flows.labels import Labels
from flows.replayed import Replay
from flows.score_frames import json_of
from flows.scorecard import score_replay
from flows.topic_range import Asked
from tocsin.errors import FileUnusable, RangeUnusable

START = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
START_MS = int(START.timestamp() * 1000)
Record = dict[str, Any]


def record(minute: float, level: str = "INFO", service_id: str = "checkout") -> Record:
    return {
        "timestamp": START + timedelta(minutes=minute),
        "service_id": service_id,
        "level": level,
        "message": "m",
    }


def history() -> list[Record]:
    """Twenty quiet minutes and a burst."""
    quiet = [
        record(minute + second / 60, level)
        for minute in range(20)
        for second, level in enumerate(["INFO", "ERROR", "info"])
    ]
    return quiet + [record(20 + second / 60, "ERROR") for second in range(30)]


def as_lines(records: Iterable[Record]) -> bytes:
    texts = (
        json.dumps({k: v.isoformat() if isinstance(v, datetime) else v for k, v in one.items()})
        for one in records
    )
    return "\n".join(texts).encode() + b"\n"


def as_parquet(path: Path, records: list[Record]) -> None:
    pl.DataFrame(records).write_parquet(path)


WRITE: dict[str, Callable[[Path, list[Record]], Any]] = {
    "r.ndjson": lambda path, records: path.write_bytes(as_lines(records)),
    "r.jsonl.gz": lambda path, records: path.write_bytes(gzip.compress(as_lines(records))),
    "r.json.zst": lambda path, records: path.write_bytes(zstd.compress(as_lines(records))),
    "r.parquet": as_parquet,
}


DAMAGED = gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 20
"""A gzip file's header, and what is no compressed data."""


def judged(path: Path, *paths: Path, asked: Asked | None = None) -> Replay:
    return backtest_files([path, *paths], asked or Asked(), [default_candidate()], Course())


@pytest.mark.parametrize("name", WRITE)
def test_every_format_gives_the_same(tmp_path: Path, name: str) -> None:
    WRITE[name](tmp_path / name, history())
    replay = judged(tmp_path / name)
    [[incident]] = replay.incidents
    assert (incident.service_id, incident.count) == ("checkout", 30)
    assert incident.opened_at_ms == START_MS + 20 * 60_000 + 5_000
    assert (replay.records, replay.dead_letters) == (90, 0)
    assert replay.begin_ms == START_MS
    assert replay.end_ms == START_MS + 20 * 60_000 + 29_001
    series = replay.series["checkout"]
    assert series.first_start_ms == START_MS
    assert list(series.errors) == [1] * 20 + [30]
    assert list(series.total) == [3] * 20 + [30]


def test_files_are_read_one_after_another(tmp_path: Path) -> None:
    first, second = tmp_path / "1.ndjson", tmp_path / "2.parquet"
    first.write_bytes(as_lines(history()[:50]))
    as_parquet(second, history()[50:])
    assert judged(first, second).incidents[0][0].count == 30


def test_range_is_scored_and_what_lies_before_it_is_not_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    path.write_bytes(as_lines(history()))
    replay = judged(path, asked=Asked(START_MS + 20 * 60_000, START_MS + 20 * 60_000 + 20_000))
    [[incident]] = replay.incidents
    assert incident.count == 20
    assert replay.records == 20
    assert list(replay.series["checkout"].total) == [20]
    assert replay.end_ms == START_MS + 20 * 60_000 + 20_000
    assert judged(path, asked=Asked(to_ms=START_MS + 10 * 60_000)).incidents == [[]]


@pytest.mark.parametrize("name", ["r.ndjson", "r.parquet"])
def test_bad_records_are_put_aside(tmp_path: Path, name: str) -> None:
    bad = [record(1, "LOUD"), record(1, service_id="s" * 129), record(1, service_id="")]
    ahead = record(10) | {"arrival": START}
    records = [one | {"arrival": one["timestamp"]} for one in [record(0), *bad]]
    WRITE[name](tmp_path / name, [ahead, *records])
    replay = judged(tmp_path / name)
    assert (replay.records, replay.dead_letters) == (1, 4)


@pytest.mark.parametrize("odd", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_record_years_from_the_others_is_named_unless_the_range_leaves_it_out(
    tmp_path: Path, odd: str
) -> None:
    path = tmp_path / "r.ndjson"
    line, others = as_lines([record(0) | {"timestamp": odd}]), as_lines(history())
    path.write_bytes(line + others if odd < "2" else others + line)
    with pytest.raises(FileUnusable, match="comes more than 366 days after one of"):
        judged(path)
    around = Asked(START_MS - 3_600_000, START_MS + 3_600_000)
    assert judged(path, asked=around).records == 90


def test_time_that_no_calendar_has_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    beyond = record(0) | {"timestamp": "9999-12-31T23:59:59-14:00"}
    path.write_bytes(as_lines([beyond, *history()]))
    replay = judged(path)
    assert (replay.records, replay.dead_letters) == (90, 1)
    assert replay.begin_ms == START_MS


def test_parquet_without_partitions_in_some_rows_has_them_on_the_first(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    as_parquet(path, [one | {"partition": None} for one in history()] + [{"partition": 1}])
    replay = judged(path)
    assert (replay.records, replay.dead_letters) == (90, 1)


def test_every_candidate_is_judged_in_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    path.write_bytes(as_lines(history()))
    tried = candidates_of(default_candidate(), grid_of({"minimum_count": ["5", "29", "30"]}))
    replay = backtest_files([path], Asked(), tried, Course())
    assert [len(found) for found in replay.incidents] == [1, 1, 1, 0]


def test_stopped_backtest_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    path.write_bytes(as_lines(history()))
    course = Course()
    course.stopping.set()
    replay = backtest_files([path], Asked(), [default_candidate()], course)
    assert replay.ended_early
    assert replay.records == 0


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("r.csv", b"", "give a file .parquet, .ndjson, .jsonl or .json, the last three also"),
        ("r.json", b'[{"service_id": "a"}]', "line 1 is no record: it begins a list; write a"),
        ("r.json", b"[\n", "line 1 is no record: it begins a list; write a record a line"),
        ("r.ndjson", b"7\n", "line 1 is no record: give an object, not a whole number"),
        ("r.ndjson", b'{"service_id": "a", "level": "INFO"}\n', "line 1 is no record"),
        ("r.ndjson", b"\xff\n", "line 1 is no record"),
        ("r.ndjson.gz", b"no gzip", "cannot be read after line 0"),
        (
            "r.ndjson.gz",
            gzip.compress(as_lines(history()), mtime=0)[:-9],
            "cannot be read after line",
        ),
        ("r.ndjson.gz", DAMAGED, "cannot be read after line 0: Error -3 while decompressing"),
        ("r.ndjson.zst", b"no zstd", "cannot be read after line 0"),
        ("r.parquet", b"no parquet", "cannot be read as Parquet"),
    ],
)
def test_unusable_file_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileUnusable) as raised:
        judged(path)
    assert str(raised.value).startswith(f"{path}: {what}")
    assert "\n" not in str(raised.value)


def test_file_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "r.ndjson", tmp_path / "other.ndjson"
    path.write_bytes(as_lines(history()))
    other.symlink_to(path)
    for again in (path, other):
        with pytest.raises(FileUnusable, match="is given twice"):
            judged(path, again)


def test_records_that_come_late_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    records = history()
    path.write_bytes(as_lines(records))
    assert judged(path).late == 0
    # The burst is over when the quiet minutes come: one of them is not late.
    path.write_bytes(as_lines([*records[60:], *records[:60]]))
    replay = judged(path)
    assert (replay.records, replay.late) == (90, 57)
    # These are too late to be kept, too.
    path.write_bytes(as_lines([record(23 * 60), *records]))
    assert judged(path).late == 90
    card = score_replay(judged(path), Labels())
    found = json.loads(json_of([card]))
    assert (found["source"], found["records"], found["late"]) == ("r.ndjson", 91, 90)


@pytest.mark.parametrize("name", ["r.ndjson", "r.parquet"])
def test_file_without_a_log_record_is_refused(tmp_path: Path, name: str) -> None:
    bad = record(1) | {"level": "LOUD"}
    WRITE[name](tmp_path / name, [bad, bad])
    with pytest.raises(RangeUnusable) as raised:
        judged(tmp_path / name)
    assert str(raised.value) == (
        f"{name}: nothing in the range is a log record, all 2 are dead letters"
    )


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileUnusable, match="No such file"):
        judged(tmp_path / "none.ndjson")


def test_parquet_without_a_column_or_with_one_that_is_no_time_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    pl.DataFrame({"timestamp": [START], "service_id": ["a"]}).write_parquet(path)
    with pytest.raises(FileUnusable, match="has no column level"):
        judged(path)
    pl.DataFrame({"timestamp": [1], "service_id": ["a"], "level": ["INFO"]}).write_parquet(path)
    with pytest.raises(FileUnusable, match="the column timestamp is Int64, not a time"):
        judged(path)


def test_file_that_is_not_in_the_order_of_arrival_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    as_parquet(path, [record(0) | {"arrival": START + timedelta(minutes=m)} for m in (2, 1)])
    with pytest.raises(FileUnusable, match="sort it by arrival"):
        judged(path)


def test_range_without_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    path.write_bytes(as_lines(history()))
    with pytest.raises(RangeUnusable, match="no records in that range"):
        judged(path, asked=Asked(START_MS + 3_600_000))
    path.write_bytes(b"")
    with pytest.raises(RangeUnusable, match=r"r\.ndjson: no records$"):
        judged(path)
