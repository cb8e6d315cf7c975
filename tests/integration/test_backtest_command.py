"""`tocsin backtest` as a person runs it: ranges, what cannot be read, and Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from msgspec import structs

from flows.backtest import backtest_logs, backtest_topic
from flows.candidates import default_candidate
from flows.course import Course
from flows.topic_range import Asked
from stack.processes import Process
from tests.integration import commands
from tests.integration.commands import run_tocsin
from tests.integration.conftest import Line
from tocsin.cli import app
from tocsin.errors import RangeUnusable, SettingsError, TopicMissing
from tocsin.topics import admin_client

pytestmark = pytest.mark.producers_time

START = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
MINUTES = 30
PER_MINUTE = 4
TABLES = ("logs", "error_windows", "incidents", "positions", "topics", "detection_settings")


def wire(at: datetime, level: str, service_id: str = "checkout") -> bytes:
    record = {
        "timestamp": at.isoformat(),
        "service_id": service_id,
        "level": level,
        "message": "m",
    }
    return json.dumps(record).encode()


def history() -> Iterator[tuple[datetime, bytes]]:
    """A quiet half hour, a record each quarter of a minute, and then a burst of forty errors."""
    for number in range(MINUTES * PER_MINUTE):
        at = START + timedelta(seconds=15 * number)
        yield at, wire(at, "INFO" if number % PER_MINUTE else "ERROR")
    for number in range(40):
        at = START + timedelta(minutes=MINUTES, seconds=number)
        yield at, wire(at, "ERROR")


@pytest.fixture
def filled(line: Line) -> Line:
    return fill(line)


def fill(line: Line) -> Line:
    """Put the history on the first partition, without a flow that reads it."""
    for at, value in history():
        line.send_raw(value, partition=0, arrival_ms=int(at.timestamp() * 1000))
    line.flush()
    return line


def command(line: Line, *words: str) -> subprocess.CompletedProcess[str]:
    return run_tocsin("backtest", *words, **line.environ)


def failure(line: Line, *words: str) -> str:
    return commands.failure(command(line, *words))


def shown(line: Line, *words: str) -> str:
    done = command(line, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def moment(minute: int, second: int = 0) -> str:
    return (START + timedelta(minutes=minute, seconds=second)).isoformat()


def at_ms(minute: int) -> int:
    return int((START + timedelta(minutes=minute)).timestamp() * 1000)


def test_grid_over_a_topic_writes_nothing(filled: Line, tmp_path: Path) -> None:
    before = {name: filled.query(f"SELECT count(*) FROM {name}") for name in TABLES}
    out = shown(filled, "--min-count", "39,40", "--json", str(tmp_path / "out.json"))
    for name in ("live", "min-count=39", "min-count=40"):
        assert name in out
    assert {name: filled.query(f"SELECT count(*) FROM {name}") for name in TABLES} == before


def test_one_of_each_is_told_in_the_singular(filled: Line) -> None:
    lines = shown(filled, "--to", moment(32)).splitlines()
    assert lines[0].startswith("160 records of 1 service, 0 dead letters, arrived from")
    assert lines[1].rstrip() == "live: 1 incident"
    told = shown(filled, "--offsets", "0:0-1").splitlines()
    assert told[0].startswith("1 record of 1 service, 0 dead letters, arrived from")
    assert told[1].rstrip() == "live: 0 incidents"


def test_range_is_what_arrived_from_a_time_up_to_another(filled: Line) -> None:
    def scored(asked: Asked) -> int:
        return backtest_topic(filled.settings, asked, [default_candidate()], Course()).records

    assert scored(Asked()) == MINUTES * PER_MINUTE + 40
    assert scored(Asked(at_ms(10))) == 20 * PER_MINUTE + 40
    assert scored(Asked(to_ms=at_ms(10))) == 10 * PER_MINUTE
    assert scored(Asked(at_ms(10), at_ms(10) + 15_000)) == 1
    assert scored(Asked(at_ms(10) + 1, at_ms(10) + 15_001)) == 1
    assert scored(Asked(offsets={0: (7, 19)})) == 12


def test_what_cannot_be_read_is_said_in_one_line(filled: Line, tmp_path: Path) -> None:
    assert "has no records in that range: what it has arrived from 2026-03-02T08:00:00Z to" in (
        failure(filled, "--from", moment(60))
    )
    assert "No such file" in failure(filled, str(tmp_path / "none.parquet"))
    assert "did you mean calm_windows?" in failure(filled, "--set", "calm_window=3,4")
    assert "FILES and --logs: give one of them" in failure(filled, "a.parquet", "--logs")
    assert "did you mean sigma?" in failure(filled, "--set", "sgma=3,4")


def test_topic_that_was_named_by_hand_is_questioned(filled: Line) -> None:
    own = filled.settings.topic
    assert failure(filled, "--topic", own + "s") == (
        f"tocsin: there is no topic {own}s: did you mean {own}?"
    )
    told = failure(filled, "--topic", "qqqq")
    assert told.startswith("tocsin: there is no topic qqqq: topics that there are: ")


def test_topic_of_other_things_than_logs_is_refused(filled: Line) -> None:
    filled.send_raw(b'{"incident": 1}', partition=1)
    filled.flush()
    with pytest.raises(RangeUnusable) as raised:
        backtest_topic(filled.settings, Asked(offsets={1: (0, 1)}), [default_candidate()], Course())
    assert str(raised.value) == (
        f"topic {filled.settings.topic}: nothing in the range is a log record, all 1 are dead"
        " letters"
    )


def test_records_of_a_file_that_come_late_are_told(filled: Line, tmp_path: Path) -> None:
    path = tmp_path / "night.ndjson"
    lines = [value for _, value in history()]
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert "late" not in shown(filled, str(path)).splitlines()[0]
    path.write_bytes(b"\n".join([*lines[120:], *lines[:120]]) + b"\n")
    assert "0 dead letters, 116 came late, arrived from" in shown(filled, str(path))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--from", "yesterday"], "--from: 'yesterday' is no time"),
        (["--from", moment(2), "--to", moment(1)], "--from: is not before --to"),
        (["--logs", "--offsets", "0:0-1"], "--offsets: goes with a topic, not with --logs"),
        (["--offsets", "0:0-1", "--to", moment(1)], "--offsets: give either offsets or times"),
        (["--offsets", "0:5-5"], "--offsets: 5-5 of partition 0 has no records"),
        (["--offsets", "0-5"], "--offsets: '0-5' is not PARTITION:BEGIN-END"),
        (["--base", "mine"], "--base is 'mine': give live or default"),
        (["--sigma", "3", "--set", "sigma=4"], "threshold_sigma: given twice"),
        (["--topic", ""], "--topic: '' is no topic's name"),
        (["--topic", ".."], "--topic: '..' is no topic's name"),
        (["--services", "x-*"], "--services: goes with values to try, as --min-count 3,5"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        app(["backtest", *words], standalone_mode=False)
    assert str(raised.value).startswith(told)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Asked(offsets={0: (0, 161)}), "partition 0 ends at offset 160, not at 161"),
        (Asked(offsets={9: (0, 1)}), "has no partition 9: it has 4, from 0 on"),
    ],
)
def test_offsets_that_are_not_there_are_refused(filled: Line, asked: Asked, told: str) -> None:
    with pytest.raises(RangeUnusable, match=told):
        backtest_topic(filled.settings, asked, [default_candidate()], Course())


def test_topic_and_logs_that_are_not_there_are_named(filled: Line) -> None:
    with pytest.raises(RangeUnusable, match="there are no logs in that range"):
        backtest_logs(filled.settings, Asked(), [default_candidate()], Course())
    nowhere = structs.replace(filled.settings, topic="nowhere")
    with pytest.raises(TopicMissing, match="there is no topic nowhere"):
        backtest_topic(nowhere, Asked(), [default_candidate()], Course())


def test_range_that_retention_has_cut_is_refused_with_what_is_missing(full_line: Line) -> None:
    line = fill(full_line)
    flow = line.start_flow()
    line.wait_for_logs(160, flow)
    assert flow.stop() == 0
    place = TopicPartition(line.settings.topic, 0, 50)
    admin = admin_client(line.settings)
    admin.delete_records([place])[place].result()
    assert "43 records of partition 0 are missing: retention has removed" in failure(
        line, "--offsets", "0:7-100"
    )
    told = failure(line, "--from", moment(10))
    assert "10 records of partition 0 are missing" in told
    assert "before 2026-03-02T08:12:30Z; begin there, or read what is stored by --logs" in told
    assert "live" in shown(line, "--from", moment(12, 30))
    assert "live" in shown(line, "--from", moment(10), "--logs")
    line.execute("DELETE FROM logs")
    assert "up to 50 records of partition 0 are missing" in failure(line, "--from", moment(10))


@pytest.mark.parametrize("sent_signal", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("backtest",), ("detection", "try", "threshold_sigma=2")])
def test_signal_ends_the_wait_for_kafka_at_once(
    line: Line, tmp_path: Path, words: tuple[str, ...], sent_signal: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = Process(
            "backtest",
            [sys.executable, "-m", "tocsin", *words],
            log=tmp_path / "backtest.log",
            env={
                **os.environ,
                **line.environ,
                "KAFKA_BOOTSTRAP": f"127.0.0.1:{silent.getsockname()[1]}",
            },
        )
        # It is asked once Ctrl-C is cared for; and never answers.
        silent.settimeout(60)
        asked, _ = silent.accept()
        with asked:
            began = time.monotonic()
            process.popen.send_signal(sent_signal)
            code = process.popen.wait(60)
            # Kafka would be given up after ten seconds.
            took_s = time.monotonic() - began
    assert (code, process.log.read_text()) == (130, "")
    assert took_s < 8


def test_ctrl_c_gives_what_there_is_and_says_so(line: Line, tmp_path: Path) -> None:
    pipe = tmp_path / "r.ndjson"
    os.mkfifo(pipe)
    process = Process(
        "backtest",
        [sys.executable, "-m", "tocsin", "backtest", str(pipe)],
        log=tmp_path / "backtest.log",
        env={**os.environ, **line.environ, "COLUMNS": "120"},
    )
    # It is opened for reading after Ctrl-C is cared for.
    with pipe.open("wb", buffering=0) as file:
        for _, value in history():
            file.write(value + b"\n")
        process.popen.send_signal(signal.SIGINT)
        last = wire(START + timedelta(minutes=MINUTES + 1), "INFO") + b"\n"
        try:
            while True:
                file.write(last * 100)
        except BrokenPipeError:
            pass
    assert process.popen.wait(60) == 130
    told = process.log.read_text()
    assert "stopped before the end" in told
    assert "Traceback" not in told
