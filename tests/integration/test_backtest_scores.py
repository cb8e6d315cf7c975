"""`tocsin backtest` as a person runs it: scored against a file of labels, and what people said."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.integration.commands import failure
from tests.integration.conftest import Line
from tests.integration.test_flow import log_at

START = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
BURST = range(60, 66)
OVERWRITE = "--overwrite"


def records(
    start: datetime, *, burst: range = BURST, minutes: int = 90
) -> Iterator[dict[str, Any]]:
    """One or two errors a minute of checkout, and many in some minutes; search logs no error."""
    for minute in range(minutes):
        errors = 60 if minute in burst else 1 + minute % 2
        for second in range(errors):
            at = start + minute * MINUTE + timedelta(seconds=second / 2)
            yield log_at(at, "ERROR")
        yield log_at(start + minute * MINUTE + timedelta(seconds=40), "INFO", "search")


def run(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin", *words],
        env={**os.environ, **environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    path = tmp_path / "logs.ndjson"
    path.write_text("".join(json.dumps(record) + "\n" for record in records(START)))
    return path


def labels_of(folder: Path, *rows: str) -> str:
    path = folder / "known.csv"
    path.write_text("\n".join(["service,start,end,kind", *rows]))
    return str(path)


def test_files_are_scored_against_a_file_of_labels(logs: Path, tmp_path: Path) -> None:
    known = labels_of(
        tmp_path,
        "checkout,2026-03-02T09:00:00Z,2026-03-02T09:06:00Z,burst",
        "search,2026-03-02T08:40:00Z,2026-03-02T08:50:00Z,outage",
        "chekout,2026-03-02T09:00:00Z,2026-03-02T09:06:00Z,burst",
    )
    page, scores, folder = tmp_path / "page.html", tmp_path / "scores.json", tmp_path / "out"
    outputs = ("--html", str(page), "--json", str(scores), "--parquet", str(folder))
    done = run({}, "backtest", str(logs), "--min-count", "5,100", "--labels", known, *outputs)
    assert done.returncode == 0, done.stderr
    [warning] = [line for line in done.stderr.splitlines() if line.startswith("tocsin:")]
    assert "labels of 'chekout' are left out" in warning
    assert warning.endswith("is 'chekout' meant to be 'checkout'?")
    assert max(len(line) for line in done.stdout.splitlines() if "written" not in line) <= 100
    for word in ("confirmed incidents: 2 labels", "against default", f"written: {page}"):
        assert word in done.stdout
    whole = {
        row["candidate"]: row
        for row in json.loads(scores.read_text())["scores"]
        if row["service"] is None and row["view"] == "confirmed"
    }
    assert {name: (row["hits"], row["recall"], row["gone"]) for name, row in whole.items()} == {
        "default": (1, 0.5, None),
        "min-count=5": (1, 0.5, 0),
        "min-count=100": (0, 0.0, 1),
    }
    assert whole["default"]["detect_median_s"] < 60
    frame = pl.read_parquet(folder / "labels.parquet").filter(candidate="default")
    assert dict(frame.select("service", "found").iter_rows()) == {"checkout": True, "search": False}
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_label_that_began_before_the_range_is_told(logs: Path, tmp_path: Path) -> None:
    known = labels_of(
        tmp_path,
        "checkout,2026-03-02T09:00:00Z,2026-03-02T09:06:00Z,burst",
        "search,2026-03-02T08:59:00Z,2026-03-02T09:10:00Z,outage",
        "search,2026-03-02T08:10:00Z,2026-03-02T08:20:00Z,outage",
    )
    words = ("backtest", str(logs), "--labels", known)
    later = run({}, *words, "--from", "2026-03-02T09:00:30Z")
    assert "0 labels" in later.stdout
    assert later.stderr.splitlines()[-1] == (
        "tocsin: 2 labels began before the range, so they count neither way:"
        " --from 2026-03-02T08:59:00Z takes them in"
    )
    whole = run({}, *words, "--from", "2026-03-02T08:59:00Z")
    assert "2 labels" in whole.stdout
    assert "before the range" not in whole.stderr


def test_labels_that_cannot_be_read_are_told_before_anything_is_judged(
    logs: Path, tmp_path: Path
) -> None:
    done = run({}, "backtest", str(logs), "--labels", labels_of(tmp_path, "checkout,monday,2,x"))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "known.csv, line 2: start: 'monday' is no time" in line
    assert done.stdout == ""


def test_file_that_is_there_is_replaced_only_when_that_is_asked_for(
    logs: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "scores.json", tmp_path / "out"
    out.write_text("mine")
    folder.mkdir()
    (folder / "labels.parquet").write_text("mine")
    table = folder / "labels.parquet"
    for option, given, path in (
        ("--json", out, out),
        ("--html", out, out),
        ("--parquet", folder, table),
    ):
        done = run({}, "backtest", str(logs), option, str(given))
        assert failure(done) == f"tocsin: {option}: {path} exists; --overwrite replaces it"
        assert (done.stdout, path.read_text()) == ("", "mine")
    outputs = ("--json", str(out), "--parquet", str(folder))
    assert run({}, "backtest", str(logs), *outputs, OVERWRITE).returncode == 0
    assert json.loads(out.read_text())["services"] == 2
    assert pl.read_parquet(folder / "labels.parquet").is_empty()


def test_what_is_read_and_what_is_written_are_different_files(logs: Path, tmp_path: Path) -> None:
    known = labels_of(tmp_path, "checkout,2026-03-02T09:00:00Z,2026-03-02T09:06:00Z,burst")
    tried, linked = tmp_path / "tried.toml", tmp_path / "linked.ndjson"
    tried.write_text("grid = {sigma = [4]}")
    linked.symlink_to(logs)
    (tmp_path / "scores.parquet").symlink_to(logs)
    words = ("backtest", str(logs), "--labels", known, "--candidates", str(tried), OVERWRITE)
    before = [Path(path).read_bytes() for path in (logs, known, tried)]
    for path in (logs, known, tried, linked):
        done = run({}, *words, "--json", str(path))
        assert failure(done) == f"tocsin: --json: {path} is read, give another file"
    assert "scores.parquet is read" in failure(run({}, *words, "--parquet", str(tmp_path)))
    new = tmp_path / "new"
    detour = f"{tmp_path}/../{tmp_path.name}/new"
    done = run({}, *words, "--json", str(new), "--html", detour)
    assert f"--html: {detour} is written by --json" in failure(done)
    assert [Path(path).read_bytes() for path in (logs, known, tried)] == before
    assert not new.exists()


def test_files_are_written_though_nobody_reads_the_tables(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "tocsin", "backtest", str(logs), "--json", str(out)]
    with os.fdopen(writing, "wb") as nowhere:
        subprocess.run(words, stdout=nowhere, timeout=120, check=False)
    assert json.loads(out.read_text())["services"] == 2


def test_pattern_that_matches_no_service_is_told(logs: Path) -> None:
    def told(pattern: str) -> list[str]:
        done = run({}, "backtest", str(logs), "--min-count", "5,7", "--services", pattern)
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines()

    assert told("check*") == []
    no_service = "tocsin: no service of the range matches"
    assert told("chekout*") == [f"{no_service} 'chekout*', did you mean 'checkout'?"]
    assert told("x-*") == [f"{no_service} 'x-*', there are 'checkout', 'search'"]


def test_incident_outside_a_file_is_false_unless_it_is_left_open(
    logs: Path, tmp_path: Path
) -> None:
    known = labels_of(tmp_path, "search,2026-03-02T08:40:00Z,2026-03-02T08:50:00Z,outage")
    for words, expected in (((), (1, 0)), (("--unlabelled", "open"), (0, 1))):
        out = tmp_path / "scores.json"
        done = run(
            {}, "backtest", str(logs), "--labels", known, "--json", str(out), *words, OVERWRITE
        )
        assert done.returncode == 0, done.stderr
        first = json.loads(out.read_text())["scores"][0]
        assert (first["false"], first["unlabelled"]) == expected


@pytest.mark.producers_time
def test_topic_is_scored_against_what_people_said(line: Line, tmp_path: Path) -> None:
    start = datetime.now(timezone.utc).replace(second=0, microsecond=0) - 100 * MINUTE
    for record in records(start):
        arrival_ms = int(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000)
        key = record["service_id"].encode()
        line.send_raw(json.dumps(record).encode(), key=key, arrival_ms=arrival_ms)
    line.flush()
    flow = line.start_flow()
    confirmed = "SELECT id FROM incidents WHERE confirmed_at IS NOT NULL AND kind = 'errors'"
    line.wait_for(lambda: line.query(confirmed), "the incident", flow)
    [(incident_id,)] = line.query(confirmed)
    assert flow.stop() == 0
    out = tmp_path / "scores.json"

    def scored(*words: str) -> dict[str, Any]:
        done = run(
            line.environ, "backtest", "--sigma", "2.5", "--json", str(out), *words, OVERWRITE
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(out.read_text())["scores"][0])

    unlabelled = scored()
    assert (unlabelled["candidate"], unlabelled["labels"]) == ("live", 0)
    assert (unlabelled["unlabelled"], unlabelled["precision"]) == (1, None)
    assert run(line.environ, "incidents", "label", incident_id, "true").returncode == 0
    missed = [str((start + minute * MINUTE).isoformat()) for minute in (20, 25)]
    words = ("incidents", "missed", "checkout", "--from", missed[0], "--to", missed[1])
    assert run(line.environ, *words).returncode == 0
    hit = scored()
    assert (hit["labels"], hit["hits"], hit["precision"], hit["recall"]) == (2, 1, 1, 0.5)
    assert run(line.environ, "incidents", "label", incident_id, "false").returncode == 0
    alarm = scored()
    assert (alarm["labels"], alarm["hits"], alarm["false"], alarm["precision"]) == (1, 0, 1, 0)
