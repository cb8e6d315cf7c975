"""`tocsin detection try` as a person runs it: what would have changed, and nothing is changed."""

import json
import os
import shlex
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.integration.commands import failure
from tests.integration.conftest import Line
from tests.integration.topics import Kept, fill
from tests.integration.wire import wire
from tocsin.cli import app
from tocsin.errors import TocsinError

pytestmark = pytest.mark.producers_time

MINUTES = 40
BURSTS = {"checkout": 40, "batch-import": 12}
"""Errors in the minute after the quiet ones."""


def records(start_ms: int) -> list[Kept]:
    """Forty quiet minutes of two services, a burst of each, and ten quiet minutes."""
    found = []
    for partition, (service, errors) in enumerate(BURSTS.items()):
        quiet = [
            (15_000 * n, "INFO")
            for n in range(4 * (MINUTES + 10))
            if n // 4 != MINUTES or n % 4 == 0
        ]
        loud = [(MINUTES * 60_000 + 1_000 * n + 500, "ERROR") for n in range(errors)]
        for at_ms, level in sorted([*quiet, *loud]):
            value = wire(start_ms + at_ms, level, service)
            found.append(Kept(partition, service.encode(), value, (), start_ms + at_ms))
    return found


@pytest.fixture
def judged(line: Line) -> Line:
    """A line whose flow has judged what came in the last hours."""
    return judge(line)


def judge(line: Line) -> Line:
    start_ms = int(time.time() - 7_200) // 60 * 60_000
    sent = records(start_ms)
    fill(line.settings, sent)
    flow = line.start_flow()
    line.wait_for_logs(len(sent), flow)
    # A flow that is slow to be stopped tells of their silence, too.
    both = "SELECT count(*) = 2 FROM incidents WHERE kind = 'errors'"
    line.wait_for(lambda: line.query(both) == [(True,)], "both incidents", flow)
    assert flow.stop() == 0
    return line


def tocsin(line: Line, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin", *words],
        env={**os.environ, **line.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def tried(line: Line, *words: str) -> list[str]:
    done = tocsin(line, "detection", "try", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def test_change_is_told_in_plain_words_and_nothing_is_set(judged: Line, tmp_path: Path) -> None:
    [(batch,), (checkout,)] = judged.query(
        "SELECT id FROM incidents WHERE kind = 'errors' ORDER BY service_id"
    )
    tocsin(judged, "incidents", "label", batch, "false")
    tocsin(judged, "incidents", "label", checkout, "true")
    file = tmp_path / "tried.json"
    words = ("minimum_count=20", "--services", "batch-*")
    lines = tried(judged, *words, "--json", str(file))
    count = judged.count("logs")
    assert lines[0] == f"over the last 7 days ({count:,} records of 2 services, from the topic):"
    assert lines[1].startswith("  the first is of ")
    assert lines[2:8] == [
        "  batch-*: minimum_count 5 -> 20",
        "confirmed incidents: 1 instead of 2; 0 new, 1 gone",
        "  batch-import would have had 0 instead of 1",
        "  of 1 labelled true or missed, 1 would be found, as now",
        "  of 1 labelled false, 1 would be gone",
        lines[7],
    ]
    assert lines[7].startswith("  gone ")
    assert lines[7].endswith(", labelled false")
    assert lines[-1] == "to apply: tocsin detection set minimum_count=20 --services 'batch-*'"
    again = tocsin(judged, "detection", "try", *words, "--json", str(file))
    assert failure(again) == f"tocsin: --json: {file} exists; --overwrite replaces it"
    assert tried(judged, *words, "--json", str(file), "--overwrite")[-2] == f"written: {file}"
    assert {row["change"] for row in json.loads(file.read_text())["incidents"]} >= {"gone", "same"}
    assert judged.query("SELECT count(*) FROM detection_settings") == [(1,)]
    applied = tocsin(judged, *shlex.split(lines[-1].partition("tocsin ")[2]))
    assert applied.returncode == 0, applied.stderr
    assert "  batch-*: minimum_count 5 -> 20" in applied.stdout


def test_change_that_would_have_changed_nothing_says_so(judged: Line) -> None:
    lines = tried(judged, "absorb_windows=110")
    assert lines[-2:] == [
        "nothing would have changed: the same 2 confirmed incidents, told as soon",
        "to apply: tocsin detection set absorb_windows=110",
    ]


def test_command_to_apply_it_has_a_start_only_if_that_can_be_kept(judged: Line) -> None:
    command = "to apply: tocsin detection set minimum_count=20"
    past = tried(judged, "minimum_count=20", "--from", "2026-03-02T08:00:00Z")
    assert past[-1] == command
    ahead = f"{datetime.now(timezone.utc) + timedelta(hours=1):%Y-%m-%dT%H:%M:00Z}"
    assert tried(judged, "minimum_count=20", "--from", ahead)[-1] == f"{command} --from {ahead}"


def test_pattern_that_matches_no_service_is_no_all_clear(judged: Line) -> None:
    lines = tried(judged, "minimum_count=50", "--services", "bach-*")
    assert lines[-1] == (
        "no service of the range matches 'bach-*', there are 'batch-import', 'checkout'"
    )
    assert not any("nothing would have changed" in line for line in lines)


def test_newest_version_is_what_a_change_is_compared_with(judged: Line) -> None:
    tocsin(judged, "detection", "set", "minimum_count=20", "--services", "batch-*")
    lines = tried(judged, "minimum_count=50", "--services", "check*", "--before", "batch-*")
    assert "  now is version 2, as if it had judged before" in lines[2]
    assert "confirmed incidents: 0 instead of 1; 0 new, 1 gone" in lines
    assert lines[-1] == (
        "to apply: tocsin detection set minimum_count=50 --services 'check*' --before 'batch-*'"
    )


def test_stored_logs_are_read_where_the_topic_was_made_again(full_line: Line) -> None:
    line = judge(full_line)
    count = line.count("logs")
    assert "from the topic" in tried(line, "minimum_count=20")[0]
    line.make_topic_again()
    lines = tried(line, "minimum_count=20")
    assert lines[0] == (
        f"over the last 7 days ({count:,} records of 2 services, from the stored logs, for the"
        " topic no longer reaches back so far):"
    )
    assert lines[3].startswith("confirmed incidents: 1 instead of 2; 0 new, 1 gone, 1 told later")
    fill(
        line.settings, [Kept(0, b"checkout", wire(int(time.time() * 1000), "INFO", "checkout"), ())]
    )
    assert "no longer reaches back" in tried(line, "minimum_count=20")[0]


def test_stored_logs_are_read_where_that_is_asked_for(judged: Line) -> None:
    from_logs = tried(judged, "minimum_count=20", "--logs")
    assert from_logs[0].endswith("from the stored logs):")
    from_topic = tried(judged, "minimum_count=20")
    assert from_logs[1:] == from_topic[1:]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["minimum_cont=6"], "minimum_cont: no such setting, did you mean minimum_count?"),
        (["minimum_count=5"], "that would change nothing: version 1 says the same"),
        (["minimum_count=6", "--before", "a*"], "--before: places the pattern of --services"),
        (["minimum_count=6", "--from", "now"], "--from: 'now' is no time"),
        (["minimum_count=6"], "has no records at all: read what is stored by --logs"),
        (["minimum_count=6", "--logs"], "there are no logs in that range"),
    ],
)
def test_what_cannot_be_tried_is_said_in_one_line(
    line: Line, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    for name, value in line.environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TocsinError) as raised:
        app(["detection", "try", *words], standalone_mode=False)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
