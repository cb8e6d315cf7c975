"""What the parser took and the database refuses is a dead letter, and a record to send again."""

from functools import partial

import pytest

from tests.integration.conftest import Line
from tests.integration.letters import Run, failure, output, put_aside, run, wire


@pytest.fixture
def tocsin(line: Line) -> Run:
    """Return a function that runs a command of `tocsin dead-letters`."""
    return partial(run, line)


def test_what_the_database_refused_is_sent_as_a_record(line: Line, tocsin: Run) -> None:
    line.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF length(NEW.message) > 8 THEN RAISE EXCEPTION 'too long' USING ERRCODE = '22001';"
        " END IF; RETURN NEW; END $$;"
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
