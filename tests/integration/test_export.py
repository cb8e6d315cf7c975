"""`tocsin export` as a person runs it: what is in the file, and what is there when it fails."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from stack.waiting import wait_until
from tests.conftest import as_role
from tests.integration.commands import Run, execute, failure, tocsin
from tests.integration.ledgers import replayed, store

__all__ = ["tocsin"]

FIRST = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
LOGS = """
    insert into logs (timestamp, service_id, level, message, metadata, id, arrival, incarnation,
                      partition, "offset")
    select at, 'checkout', 'INFO', 'message ' || number, '{"n": 1}', 'id-' || number,
           at, 1, 0, number
    from (select number, %s + number * interval '1 second' as at
          from generate_series(0, %s - 1) as number) as numbered
"""
AWKWARD = ["", "a,b", 'say "hi"', "two\nlines", "\\N", "ünïcode ✓", "NULL", " "]


def fill(database_url: str, count: int, *, first: datetime = FIRST) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(LOGS, [first, count])


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, try_parse_dates=True)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_logs_of_a_time_are_in_the_file_in_order(
    database_url: str, tocsin: Run, tmp_path: Path, suffix: str
) -> None:
    fill(database_url, 9000)  # over hours, which are read one by one
    path = tmp_path / f"logs{suffix}"
    since, until = "2026-03-02T08:00:10Z", "2026-03-02T12:20:00+02:00"
    done = tocsin("export", "logs", str(path), "--from", since, "--to", until)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"logs: 8390 rows in {path}, {path.stat().st_size} bytes\n"
    frame = read(path)
    assert frame.height == 8390
    assert frame["offset"].to_list() == list(range(10, 8400))
    times = [FIRST + timedelta(seconds=number) for number in range(10, 8400)]
    assert frame["timestamp"].to_list() == times
    assert set(frame["level"]) == {"INFO"}
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_parquet_holds_every_value_as_it_is_stored(
    database_url: str, tocsin: Run, tmp_path: Path
) -> None:
    with psycopg.connect(database_url) as conn:
        for number, message in enumerate(AWKWARD):
            conn.execute(
                "insert into logs (timestamp, service_id, level, message, metadata, arrival, "
                'incarnation, partition, "offset") values (%s, %s, %s, %s, %s, %s, 1, 0, %s)',
                [FIRST, "s", "FATAL", message, None if number % 2 else "{}", FIRST, number],
            )
    path = tmp_path / "logs.parquet"
    assert tocsin("export", "logs", str(path)).returncode == 0
    frame = read(path)
    assert frame["message"].to_list() == AWKWARD
    assert frame["metadata"].to_list() == ["{}", None] * 4
    assert frame["id"].null_count() == len(AWKWARD)
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert frame.schema["offset"] == pl.Int64
    path = tmp_path / "logs.csv"
    assert tocsin("export", "logs", str(path)).returncode == 0
    assert read(path)["message"].to_list()[1:] == AWKWARD[1:]


def test_windows_and_incidents_are_exported_whole(
    database_url: str, tocsin: Run, tmp_path: Path
) -> None:
    tables = replayed("checkout")
    [incident] = store(database_url, tables)
    execute(database_url, "update incidents set assignee = 'ada@example.org'")
    for what in ("windows", "incidents"):
        assert tocsin("export", what, str(tmp_path / f"{what}.parquet")).returncode == 0
    windows = read(tmp_path / "windows.parquet")
    expected = [tables.windows[number].errors for number in sorted(tables.windows)]
    assert windows["errors"].to_list() == expected
    assert windows["window_start"].is_sorted()
    [row] = read(tmp_path / "incidents.parquet").to_dicts()
    assert (row["id"], row["observed"], row["z"]) == (incident.incident_id, 60, incident.z)
    assert row["decided_by"] in {"plain", "guarded"}
    for whose in ("baseline", "guarded"):
        mean = row[f"{whose}_errors"] / row[f"{whose}_windows"]
        assert row["mean" if whose == "baseline" else "guarded_mean"] == pytest.approx(mean)
    assert row["guarded_sigma"] > 0
    assert row["detected_at"] <= row["updated_at"]
    assert (row["assignee"], row["kind"], row["severity"]) == (
        "ada@example.org",
        "errors",
        "CRITICAL",
    )


@pytest.mark.parametrize("what", ["logs", "windows", "incidents"])
def test_nothing_to_export_is_a_file_with_columns(
    database_url: str, tocsin: Run, tmp_path: Path, what: str
) -> None:
    for suffix in (".parquet", ".csv"):
        path = tmp_path / f"none{suffix}"
        assert tocsin("export", what, str(path)).returncode == 0
        assert (read(path).height, "service_id" in read(path).columns) == (0, True)


def test_export_by_arrival_can_be_backtested(
    database_url: str, tocsin: Run, tmp_path: Path
) -> None:
    fill(database_url, 9000)
    late = "update logs set timestamp = timestamp - interval '3 hours' where \"offset\" % 1000 = 7"
    execute(database_url, late)
    by_time, by_arrival = tmp_path / "by-time.parquet", tmp_path / "by-arrival.parquet"
    since, until = "2026-03-02T08:00:10Z", "2026-03-02T10:20:00Z"
    assert tocsin("export", "logs", str(by_time)).returncode == 0
    words = ("--by-arrival", "--from", since, "--to", until)
    assert tocsin("export", "logs", str(by_arrival), *words).returncode == 0
    assert read(by_arrival)["offset"].to_list() == list(range(10, 8400))
    assert "sort it by arrival" in failure(tocsin("backtest", str(by_time)))
    assert tocsin("backtest", str(by_arrival)).returncode == 0
    said = failure(tocsin("export", "windows", str(tmp_path / "w.csv"), "--by-arrival"))
    assert said == "tocsin: --by-arrival: goes with logs, not with windows"


@pytest.fixture
def analyst_of_one(database_url: str) -> Iterator[str]:
    """The URL of a person who may see the services check* alone."""
    name = f"bob_{secrets.token_hex(4)}"
    url = as_role(database_url, name)
    with psycopg.connect(database_url, autocommit=True) as conn:
        password = psycopg.conninfo.conninfo_to_dict(url)["password"]
        role = Identifier(name)
        make = SQL("create role {} login password {} in role scoped_analyst")
        conn.execute(make.format(role, Literal(password)))
        conn.execute(SQL("alter role {} set search_path = scoped, public").format(role))
        conn.execute("insert into analyst_services values (%s, 'check*')", [name])
    yield url
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(SQL("drop role {}").format(Identifier(name)))


def test_analyst_exports_what_he_may_see(
    database_url: str, analyst_of_one: str, tocsin: Run, tmp_path: Path
) -> None:
    fill(database_url, 100)
    execute(database_url, "update logs set service_id = 'search' where \"offset\" < 30")
    for url, logs in ((as_role(database_url, "analyst"), 100), (analyst_of_one, 70)):
        for what in ("logs", "windows", "incidents"):
            path = tmp_path / f"{logs}-{what}.parquet"
            done = tocsin("export", what, str(path), DATABASE_URL=url)
            assert done.returncode == 0, done.stderr
        assert read(tmp_path / f"{logs}-logs.parquet").height == logs


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("logs", "logs.json"), "FILE: logs.json is neither NAME.parquet nor NAME.csv"),
        (("logs", "nowhere/logs.csv"), "FILE: there is no folder nowhere"),
        (("logs", "there.csv"), "FILE: there.csv exists; --overwrite replaces it"),
        (("logs", "folder.csv"), "FILE: folder.csv is a folder"),
        (("logs", "x.csv", "--from", "today"), "--from: 'today' is no time"),
        (
            ("logs", "x.csv", "--from", "2026-03-02T08:00:00Z", "--to", "2026-03-02T08:00:00Z"),
            "--to: give a time after --from",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    database_url: str,
    tocsin: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("kept")
    (tmp_path / "folder.csv").mkdir()
    assert failure(tocsin("export", *words)).startswith(f"tocsin: {expected}")
    assert (tmp_path / "there.csv").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 2


def test_file_of_that_name_is_replaced_when_told_to(
    database_url: str, tocsin: Run, tmp_path: Path
) -> None:
    path = tmp_path / "logs.csv"
    path.write_text("old")
    assert tocsin("export", "logs", str(path), "--overwrite").returncode == 0
    assert path.read_text().startswith("timestamp,service_id,")


@contextmanager
def exporting(database_url: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start an export that has written the first of two days and waits for the other."""
    fill(database_url, 9000, first=FIRST.replace(hour=22))
    chunks = "select format('%I.%I', chunk_schema, chunk_name) from timescaledb_information.chunks"
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    with (
        psycopg.connect(database_url, autocommit=True) as conn,
        psycopg.connect(database_url) as holder,
    ):
        _, (last,) = conn.execute(f"{chunks} order by range_start").fetchall()
        holder.execute(f"lock table {last} in access exclusive mode".encode())
        process = subprocess.Popen(
            [sys.executable, "-m", "tocsin", "export", "logs", str(path), "--overwrite"],
            env={**os.environ, "DATABASE_URL": database_url},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(
            lambda: conn.execute(waiting.encode()).fetchall() == [(1,)],
            "the export waits",
            deadline_s=60,
        )
        yield process
        assert process.poll() is not None


def test_export_that_fails_midway_leaves_the_old_file_and_nothing_else(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "logs.parquet"
    path.write_text("old")
    end = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'"
    with exporting(database_url, path) as process:
        assert len(list(tmp_path.iterdir())) == 2
        execute(database_url, end)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    [line] = errors.splitlines()
    assert line.startswith("tocsin: the database refuses: terminating connection")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_export_that_is_ended_leaves_nothing_that_looks_whole(
    database_url: str, tmp_path: Path, ending: signal.Signals
) -> None:
    path = tmp_path / "logs.parquet"
    with exporting(database_url, path) as process:
        process.send_signal(ending)
        _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert errors == ""
    left = [file.name for file in tmp_path.iterdir()]
    assert all(name.startswith(".") and name.endswith(".partial") for name in left)
    assert ending is signal.SIGKILL or left == []


def test_export_of_many_rows_takes_no_more_memory_than_one_of_few(
    database_url: str, tocsin: Run, tmp_path: Path
) -> None:
    script = (
        "import resource, sys; from tocsin.cli import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    peaks_kb = []
    for count in (20_000, 400_000):
        execute(database_url, "truncate logs")
        fill(database_url, count)
        done = subprocess.run(
            [sys.executable, "-c", script, "export", "logs", str(tmp_path / f"{count}.parquet")],
            env={**os.environ, "DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
        )
        peaks_kb.append(int(done.stderr))
        assert (
            pl.scan_parquet(tmp_path / f"{count}.parquet").select(pl.len()).collect().item()
            == count
        )
    assert peaks_kb[1] < peaks_kb[0] + 100_000
