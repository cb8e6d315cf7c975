"""A dead letter is sent again once, whatever is killed or goes away."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import psycopg
import pytest

from stack.broker import Broker
from stack.waiting import wait_until
from tests.integration.conftest import WAIT_S, Line
from tests.integration.letters import (
    Run,
    failure,
    output,
    put_aside,
    redriven,
    run,
    stored_ids,
    wire,
)

LONG_AGO = "redrive_begun_at = now() - interval '9 minutes'"


@pytest.fixture
def tocsin(line: Line) -> Run:
    """Return a function that runs a command of `tocsin dead-letters`."""
    return partial(run, line)


def test_letter_without_a_value_stays_refused_for_what_it_was(line: Line, tocsin: Run) -> None:
    put_aside(line, b"", reason="record: no value, a tombstone")
    told = b"1  still refused: record: no value, a tombstone"
    assert told in tocsin("redrive", "--all", "--dry-run").stdout


def test_letter_that_is_acceptable_now_is_sent_again_once(line: Line, tocsin: Run) -> None:
    flow = line.start_flow()
    future = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    line.send_raw(wire(timestamp=future), key=b"checkout", partition=0)
    line.flush()
    line.wait_for(lambda: line.count("dead_letters"), "a letter", flow)
    done = tocsin("redrive", "1/0/0")
    assert done.stdout.decode() == (
        "1/0/0  still refused timestamp: more than 5 minutes ahead of its arrival\n"
    )
    assert failure(done) == "tocsin: 1 not sent again"
    line.execute(f"UPDATE dead_letters SET raw = convert_to('{wire().decode()}', 'UTF8')")
    assert output(tocsin("redrive", "1/0/0", "--dry-run")) == ["1/0/0  would be sent"]
    assert re.fullmatch(
        r"1/0/0  sent again to partition \d, offset \d+", output(tocsin("redrive", "1/0/0"))[0]
    )
    line.wait_for_logs(1, flow)
    [(id_, partition, offset, arrival)] = line.query(
        'SELECT id, partition, "offset", arrival FROM logs'
    )
    assert id_ == "redrive-1-0-0"
    [(at, to_partition, to_offset, by)] = line.query(
        "SELECT redriven_at, redriven_partition, redriven_offset, redriven_by FROM dead_letters"
    )
    assert (to_partition, to_offset) == (partition, offset)
    assert abs(at - arrival) < timedelta(minutes=1)
    assert by
    again = tocsin("redrive", "1/0/0")
    assert again.stdout.startswith(b"1/0/0  was sent before at 20")
    assert failure(again) == "tocsin: 1 not sent again"
    assert output(tocsin("redrive", "--all")) == ["no letter to send again"]
    assert line.count("logs") == 1


def test_all_are_sent_but_those_that_still_break_the_contract(line: Line, tocsin: Run) -> None:
    flow = line.start_flow()
    good = [wire(id=f"own-{n}") if n % 2 else wire(metadata={"n": n}) for n in range(600)]
    put_aside(line, *good, wire(level="LOUD"), b"\xff", b"x" * 2_000_000, wire(level="LOUD"))
    assert output(tocsin("redrive", "--all", "--dry-run"))[0].split() == [
        "600",
        "would",
        "be",
        "sent",
    ]
    lines = [" ".join(shown.split()) for shown in output(tocsin("redrive", "--all"))]
    assert lines == [
        "600 sent again",
        "2 still refused: level: unknown level 'LOUD', use DEBUG, INFO, WARN, ERROR or FATAL",
        "1 still refused: record: not UTF-8",
        "1 still refused: record: 2000000 bytes, at most 262144 are taken",
    ]
    line.wait_for_logs(600, flow)
    assert line.query("SELECT count(*), count(DISTINCT id) FROM logs") == [(600, 600)]
    assert redriven(line) == 600
    assert "600 sent again" not in str(tocsin("redrive", "--all").stdout)


def test_reason_chooses_the_letters(line: Line, tocsin: Run) -> None:
    put_aside(line, wire(), wire())
    put_aside(line, wire(), reason="record: the database refuses it (50% [red])")
    assert output(tocsin("redrive", "--reason", "DATABASE REFUSES"))[0].split()[0] == "1"
    assert line.query('SELECT "offset" FROM dead_letters WHERE redriven_at IS NOT NULL') == [(2,)]


def test_corrected_record_is_sent_in_the_letters_place(
    line: Line, tocsin: Run, tmp_path: Path
) -> None:
    flow = line.start_flow()
    put_aside(line, b"{", wire(service_id=""))
    file = tmp_path / "corrected.json"
    file.write_bytes(wire(level="LOUD"))
    done = tocsin("redrive", "1/0/1", "--with", str(file))
    assert b"1/0/1  still refused level: unknown level" in done.stdout
    assert failure(done) == "tocsin: 1 not sent again"
    assert line.query("SELECT count(corrected) FROM dead_letters") == [(0,)]
    file.write_bytes(wire(service_id="mended") + b" \r\n")
    assert "sent again" in output(tocsin("redrive", "1/0/1", "--with", str(file)))[0]
    line.wait_for_logs(1, flow)
    assert line.query("SELECT service_id, id FROM logs") == [("mended", "redrive-1-0-1")]
    shown = tocsin("show", "1/0/1").stdout.decode()
    assert "sent again" in shown
    assert '"mended"' in shown


WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'tocsin-cli'"
    " AND wait_event_type = 'Lock' AND datname = current_database()"
)


def hold(line: Line, column: str) -> psycopg.Connection:
    """Let no letter's column be written while the returned connection is open."""
    line.execute(
        "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;"
        f"CREATE TRIGGER held BEFORE UPDATE OF {column} ON dead_letters"
        " FOR EACH ROW EXECUTE FUNCTION held()"
    )
    conn = psycopg.connect(line.settings.database_url, autocommit=True)
    conn.execute("SELECT pg_advisory_lock(7)")
    return conn


def kill_before_mark(line: Line, *words: str) -> None:
    """Kill a redrive between Kafka's acknowledgement and the database's commit."""
    with hold(line, "redriven_at"):
        killed = subprocess.Popen(
            [sys.executable, "-m", "tocsin", "dead-letters", "redrive", *words],
            env={**os.environ, **line.environ},
        )
        wait_until(lambda: line.query(WAITING), "the mark waits", deadline_s=WAIT_S)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        # Or it would finish the statement, and commit it, when the lock is free.
        assert line.query(f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) AS w") == [(True,)]
        sessions = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tocsin-cli'"
            " AND datname = current_database()"
        )
        wait_until(lambda: not line.query(sessions), "its sessions end", deadline_s=WAIT_S)
    line.execute("DROP TRIGGER held ON dead_letters")
    assert redriven(line) == 0


def test_redrive_killed_before_it_could_mark_is_found_among_the_logs(
    line: Line, tocsin: Run
) -> None:
    put_aside(line, wire(), wire(id="own"))
    kill_before_mark(line, "--all")
    flow = line.start_flow()
    line.wait_for_logs(2, flow)
    line.execute(f"UPDATE dead_letters SET {LONG_AGO}")
    found = output(tocsin("redrive", "1/0/0", "1/0/1"))
    assert [text.split(", it is ")[1] for text in found] == ["among the logs"] * 2
    assert redriven(line) == 2
    assert line.query(
        'SELECT count(*) FROM dead_letters JOIN logs ON redriven_offset = logs."offset"'
        " AND redriven_partition = logs.partition"
    ) == [(2,)]
    assert stored_ids(line) == ["own", "redrive-1-0-0"]


def test_redrive_killed_before_it_could_mark_may_be_run_again_at_once(
    line: Line, tocsin: Run
) -> None:
    put_aside(line, wire(), wire(id="own"))
    kill_before_mark(line, "--all")
    assert output(tocsin("redrive", "--all"))[0].split() == ["2", "sent", "again"]
    assert redriven(line) == 2
    flow = line.start_flow()
    line.send({**json.loads(wire()), "id": "z-last"}, partition=0)
    line.wait_for(lambda: "z-last" in stored_ids(line), "all is stored", flow)
    assert flow.stop() == 0
    assert stored_ids(line) == ["own", "redrive-1-0-0", "z-last"]


def test_letter_in_doubt_for_long_is_said_and_sent_only_if_told_to(
    line: Line, tocsin: Run, tmp_path: Path
) -> None:
    put_aside(line, wire(), wire())
    line.execute(f'UPDATE dead_letters SET {LONG_AGO} WHERE "offset" = 0')
    done = tocsin("redrive", "--all")
    shown = done.stdout.decode().splitlines()
    assert re.search(r"^1/0/0  in doubt since 20", shown[-1])
    assert [" ".join(text.split()) for text in shown[:-1]] == ["1 in doubt", "1 sent again"]
    assert failure(done).startswith("tocsin: 1 in doubt, for they may have been sent and are not")
    assert "in doubt" in tocsin("list").stdout.decode()
    file = tmp_path / "other.json"
    file.write_bytes(wire(message="other"))
    assert "may have been sent with another record" in failure(
        tocsin("redrive", "1/0/0", "--with", str(file))
    )
    assert "sent again" in output(tocsin("redrive", "1/0/0", "--in-doubt"))[0]
    assert redriven(line) == 2


def test_two_redrives_at_once_do_not_double(line: Line, tocsin: Run) -> None:
    put_aside(line, wire())
    with hold(line, "redriven_at"):
        first = subprocess.Popen(
            [sys.executable, "-m", "tocsin", "dead-letters", "redrive", "--all"],
            env={**os.environ, **line.environ},
        )
        begun = "SELECT 1 FROM dead_letters WHERE redrive_begun_at IS NOT NULL"
        wait_until(lambda: line.query(begun), "the first claims", deadline_s=WAIT_S)
        assert failure(tocsin("redrive", "--all")) == (
            "tocsin: another redrive is running: wait for it to end"
        )
    assert first.wait(WAIT_S) == 0
    assert redriven(line) == 1


def test_broker_that_stops_answering_leaves_letters_in_doubt_that_are_sent_again(
    make_line: Callable[[Broker], Line], own_broker: Broker
) -> None:
    line = make_line(own_broker)
    put_aside(line, wire(), wire())
    with hold(line, "redrive_begun_at"):
        sending = subprocess.Popen(
            [sys.executable, "-m", "tocsin", "dead-letters", "redrive", "--all"],
            env={**os.environ, **line.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: line.query(WAITING), "the claim waits", deadline_s=WAIT_S)
        own_broker.pause()
    shown, said = sending.communicate(timeout=WAIT_S)
    assert sending.returncode == 1
    assert b"2  not confirmed" in shown
    [words] = said.splitlines()
    assert words.startswith(b"tocsin: Kafka did not confirm all letters")
    own_broker.resume()
    line.execute("DROP TRIGGER held ON dead_letters")
    assert output(run(line, "redrive", "--all"))[0].split() == ["2", "sent", "again"]
    flow = line.start_flow()
    line.wait_for_logs(2, flow)
    assert flow.stop() == 0
    assert stored_ids(line) == ["redrive-1-0-0", "redrive-1-0-1"]


def test_database_that_goes_away_after_sending_leaves_letters_in_doubt(
    line: Line, tocsin: Run
) -> None:
    put_aside(line, wire())
    with hold(line, "redriven_at"):
        sending = subprocess.Popen(
            [sys.executable, "-m", "tocsin", "dead-letters", "redrive", "--all"],
            env={**os.environ, **line.environ},
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: line.query(WAITING), "the mark waits", deadline_s=WAIT_S)
        assert line.query(f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) AS w") == [(True,)]
        _, said = sending.communicate(timeout=WAIT_S)
    assert sending.returncode == 1
    [words] = said.splitlines()
    assert words.startswith(b"tocsin: the database went away")
    assert b"run the same again within 8 minutes" in words
    assert "in doubt since" in tocsin("list").stdout.decode()
    assert line.query("SELECT count(*) FROM audit_log") == [(0,)]
