"""`tocsin dead-letters` as a person runs it: what was put aside is read, and sent again once."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from sql import writer
from stack.waiting import wait_until
from tests.integration.conftest import WAIT_S, Line
from tocsin.batches import DeadLetter

Run = Callable[..., subprocess.CompletedProcess[bytes]]
LONG_AGO = "redrive_begun_at = now() - interval '9 minutes'"


def wire(**changes: object) -> bytes:
    now = datetime.now(timezone.utc).isoformat()
    base = {"timestamp": now, "service_id": "checkout", "level": "INFO", "message": "m"}
    return json.dumps({**base, **changes}).encode()


@pytest.fixture
def tocsin(line: Line) -> Run:
    """Return a function that runs a command of `tocsin dead-letters`."""

    def run(*words: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "tocsin", "dead-letters", *words],
            env={**os.environ, "COLUMNS": "200", **line.environ, **environ},
            capture_output=True,
            timeout=120,
            check=False,
        )

    return run


def put_aside(line: Line, *records: bytes, reason: str = "level: unknown level 'LOUD'") -> None:
    """Store letters as if the flow had refused the records by former rules."""
    with psycopg.connect(line.settings.database_url) as conn:
        [(first,)] = conn.execute("SELECT count(*) FROM dead_letters").fetchall()
        arrival_ms = int(datetime.now(timezone.utc).timestamp() * 1000)
        writer.insert_dead_letters(
            conn,
            line.settings.topic,
            1,
            [
                DeadLetter(0, offset, arrival_ms, reason, b"checkout", raw)
                for offset, raw in enumerate(records, first)
            ],
        )


def failure(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the one line that a command failed with."""
    assert done.returncode == 1, done
    [line] = done.stderr.decode().splitlines()
    return line


def output(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode().splitlines()


def stored_ids(line: Line) -> list[str]:
    return [id_ for (id_,) in line.query("SELECT id FROM logs ORDER BY id")]


def redriven(line: Line) -> int:
    return int(line.query("SELECT count(*) FROM dead_letters WHERE redriven_at IS NOT NULL")[0][0])


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


def hold_marks(line: Line) -> psycopg.Connection:
    """Let no letter be marked as sent while the returned connection is open."""
    line.execute(
        "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;"
        "CREATE TRIGGER held BEFORE UPDATE OF redriven_at ON dead_letters"
        " FOR EACH ROW EXECUTE FUNCTION held()"
    )
    conn = psycopg.connect(line.settings.database_url, autocommit=True)
    conn.execute("SELECT pg_advisory_lock(7)")
    return conn


def kill_before_mark(line: Line, *words: str) -> None:
    """Kill a redrive between Kafka's acknowledgement and the database's commit."""
    with hold_marks(line):
        killed = subprocess.Popen(
            [sys.executable, "-m", "tocsin", "dead-letters", "redrive", *words],
            env={**os.environ, **line.environ},
        )
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'tocsin-cli'"
            " AND wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: line.query(waiting), "the mark waits", deadline_s=WAIT_S)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        gone = f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS dead"
        assert line.query(gone) == [(True,)]
        sessions = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tocsin-cli'"
            " AND datname = current_database()"
        )
        wait_until(lambda: not line.query(sessions), "its sessions end", deadline_s=WAIT_S)
    line.execute("DROP TRIGGER held ON dead_letters; DROP FUNCTION held()")
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
    with hold_marks(line):
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


def test_what_the_database_refused_is_sent_as_a_record(line: Line, tocsin: Run) -> None:
    line.execute("ALTER TABLE logs ADD CONSTRAINT short CHECK (length(message) < 9) NOT VALID")
    line.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF length(NEW.message) > 8 THEN RAISE EXCEPTION 'too long' USING ERRCODE = '22001';"
        " END IF; RETURN NEW; END $$;"
        "ALTER TABLE logs DROP CONSTRAINT short;"
        "CREATE TRIGGER refuse BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    flow = line.start_flow()
    digits = "1" * 5_000
    record = wire(message="far too long", metadata="?").replace(
        b'"?"', b'{"n":%b}' % digits.encode()
    )
    line.send_raw(record, key=b"checkout", partition=0)
    line.send_raw(wire(), key=b"checkout", partition=0)
    line.flush()
    line.wait_for_logs(1, flow)
    assert line.query("SELECT reason FROM dead_letters") == [
        ("record: the database refuses it (too long)",)
    ]
    line.execute("DROP TRIGGER refuse ON logs")
    assert "sent again" in output(tocsin("redrive", "1/0/0"))[0]
    line.wait_for_logs(2, flow)
    [(message, number)] = line.query(
        "SELECT message, metadata->>'n' FROM logs WHERE id = 'redrive-1-0-0'"
    )
    assert (message, number) == ("far too long", digits)


def test_what_the_database_refused_under_an_id_waits_until_the_id_is_no_repetition(
    line: Line, tocsin: Run
) -> None:
    put_aside(line, wire(id="own"), reason="record: the database refuses it (too long)")
    done = tocsin("redrive", "1/0/0")
    assert b"still refused id: the flow takes it for a repetition until" in done.stdout
    assert failure(done) == "tocsin: 1 not sent again"
    line.execute("UPDATE dead_letters SET arrival = arrival - interval '12 minutes'")
    assert "sent again" in output(tocsin("redrive", "1/0/0"))[0]


def test_list_shows_the_newest_and_counts_by_reason(line: Line, tocsin: Run) -> None:
    put_aside(line, wire(), wire(), b"", reason="level: unknown level 'LOUD'")
    put_aside(line, b"\x1b[2J", reason="record: not valid [red]JSON[/red]")
    line.execute("UPDATE dead_letters SET key = '\\x1b5b324a'::bytea WHERE \"offset\" = 3")
    line.execute('UPDATE dead_letters SET key = NULL WHERE "offset" = 2')
    line.execute(
        "UPDATE dead_letters SET arrival = arrival - interval '1 hour' WHERE \"offset\" = 0"
    )
    shown = tocsin("list").stdout
    assert b"\x1b" not in shown
    assert b"\\x1b[2J" in shown
    assert b"[red]JSON[/red]" in shown
    assert len(re.findall(rb"1/0/\d", shown)) == 4
    assert re.findall(rb"1/0/\d", tocsin("list", "--limit", "1").stdout) == [b"1/0/3"]
    assert b"3 more: --limit" in tocsin("list", "--limit", "1").stdout
    assert re.findall(rb"1/0/\d", tocsin("list", "--reason", "loud").stdout)[-1] == b"1/0/0"
    assert len(re.findall(rb"1/0/\d", tocsin("list", "--service", "checkout").stdout)) == 2
    recently = (datetime.now(timezone.utc) - timedelta(minutes=30)).isoformat()
    assert b"1/0/0" not in tocsin("list", "--since", recently).stdout
    assert re.findall(rb"1/0/\d", tocsin("list", "--until", recently).stdout) == [b"1/0/0"]
    summary = tocsin("list", "--summary").stdout.decode()
    assert re.search(r"│ 3 +│ 0 .*LOUD", summary)
    objects = [json.loads(text) for text in output(tocsin("list", "--json"))]
    assert [each["id"] for each in objects] == ["1/0/3", "1/0/2", "1/0/1", "1/0/0"]
    assert [each["key"] for each in objects] == ["\x1b[2J", None, "checkout", "checkout"]
    counts = [json.loads(text) for text in output(tocsin("list", "--summary", "--json"))]
    assert [(each["reason"], each["letters"]) for each in counts] == [
        ("level: unknown level 'LOUD'", 3),
        ("record: not valid [red]JSON[/red]", 1),
    ]


def test_show_gives_text_or_hex_and_raw_the_bytes(line: Line, tocsin: Run) -> None:
    put_aside(line, b'{"a":\n"\x1b]0;title\x07"}', b"\xff\x00\xfe", b"y" * 20_000)
    text = tocsin("show", "1/0/0").stdout
    assert b"\x1b" not in text
    assert b'{"a":\n"\\x1b]0;title\\x07"}' in text
    assert b"reason   level: unknown level 'LOUD'" in text
    assert b"hex ff 00fe\n" in tocsin("show", "1/0/1").stdout
    assert tocsin("show", "1/0/1", "--raw").stdout == b"\xff\x00\xfe"
    assert b"10000 bytes more: --raw" in tocsin("show", "1/0/2").stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["show", "1/0/99"], "no dead letter has the id 1/0/99"),
        (["show", "99999/0/1"], "no dead letter has the id 99999/0/1"),
        (["show", "42"], "'42': not the id of a dead letter, give one as 1/0/42"),
        (["show", "\u0661/0/1"], "not the id of a dead letter"),
        (["redrive", "1/0/99"], "no dead letter has the id 1/0/99"),
        (["redrive"], "give the ids of the letters, or --reason, or --all"),
        (["redrive", "1/0/0", "--all"], "give the ids of the letters, or --reason, or --all"),
        (["redrive", "--all", "--with", "x"], "--with: give the id of the one letter"),
        (["redrive", "1/0/0", "--with", "/nowhere"], "--with: /nowhere: No such file"),
        (["list", "--since", "soon"], "--since: 'soon' is no time"),
    ],
)
def test_what_cannot_be_is_one_line(
    line: Line, tocsin: Run, words: list[str], complaint: str
) -> None:
    put_aside(line, wire())
    said = failure(tocsin(*words))
    assert said.startswith("tocsin: ")
    assert complaint in said
    assert redriven(line) == 0


@pytest.mark.parametrize("words", [["list"], ["show", "1/0/0"], ["redrive", "--all"]])
def test_database_that_is_away_is_one_line(tocsin: Run, words: list[str]) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    assert "cannot be reached" in failure(tocsin(*words, DATABASE_URL=away))


def test_broker_that_is_away_is_one_line_and_leaves_nothing_in_doubt(
    line: Line, tocsin: Run
) -> None:
    put_aside(line, wire())
    said = failure(tocsin("redrive", "--all", KAFKA_BOOTSTRAP="127.0.0.1:1"))
    assert "Kafka at 127.0.0.1:1 does not answer" in said
    assert line.query("SELECT count(redrive_begun_at) FROM dead_letters") == [(0,)]


def test_topic_that_is_missing_is_one_line(line: Line, tocsin: Run) -> None:
    put_aside(line, wire())
    said = failure(tocsin("redrive", "--all", TOCSIN_TOPIC="elsewhere"))
    assert said == "tocsin: there is no topic elsewhere: run `tocsin migrate`"
