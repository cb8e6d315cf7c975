"""A record that its client sends again under the same id is stored and counted once."""

import json
import signal
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

import pytest

from flows.repeats import seen_in
from stack.processes import Process
from tests.integration.conftest import Line
from tests.integration.test_committer import DuringThePause
from tests.integration.test_flow import log_at
from tocsin.batches import RecordBatch
from tocsin.errors import StorageError


def send_at(line: Line, arrival: datetime, *ids: str | None, service: str = "checkout") -> None:
    """Send one record for each id, which arrives at a time."""
    for id_ in ids:
        more = {} if id_ is None else {"id": id_}
        line.send_raw(
            json.dumps(log_at(arrival, service=service, **more)).encode(),
            key=service.encode(),
            partition=0,
            arrival_ms=int(arrival.timestamp() * 1000),
        )
    line.flush()


def require_stored(line: Line, flow: Process, expected: dict[str | None, int]) -> None:
    """Have everything sent so far stored; check how often each id was."""
    line.send(log_at(datetime.now(timezone.utc), service="last"), partition=0)
    line.wait_for(
        lambda: line.query("SELECT 1 FROM logs WHERE service_id = 'last'"), "the last record", flow
    )
    assert flow.stop() == 0
    where = "WHERE service_id <> 'last'"
    assert dict(line.query(f"SELECT id, count(*) FROM logs {where} GROUP BY 1")) == expected
    [(counted,)] = line.query(f"SELECT sum(total + late_total) FROM error_windows {where}")
    assert counted == sum(expected.values())


@pytest.mark.producers_time
def test_id_that_was_seen_in_the_last_ten_minutes_is_one_record(line: Line) -> None:
    flow = line.start_flow()
    first = datetime.now(timezone.utc) - timedelta(minutes=30)
    send_at(line, first, "a", "b", "a", None, None)
    send_at(line, first, "a", service="search")
    send_at(line, first + timedelta(minutes=9), "b")
    send_at(line, first + timedelta(minutes=10), "a")
    send_at(line, first + timedelta(minutes=11), "b")
    require_stored(line, flow, {"a": 2, "b": 2, None: 2})


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_flow_that_starts_knows_the_ids_that_were_seen(line: Line, is_killed: bool) -> None:
    now = datetime.now(timezone.utc)
    ids = [f"{number}" for number in range(2000)]
    flow = line.start_flow()
    for end in (500, 1000, 2000):
        line.send(*[log_at(now, service=f"s-{int(i) % 7}", id=i) for i in ids[:end]], partition=0)
        line.wait_for_logs(end, flow)
        if is_killed:
            flow.popen.send_signal(signal.SIGKILL)
            flow.popen.wait()
        else:
            assert flow.stop() == 0
        flow = line.start_flow()
    line.send(*[log_at(now, service=f"s-{int(i) % 7}", id=i) for i in ids], partition=0)
    require_stored(line, flow, dict.fromkeys(ids, 1))


def test_flow_waits_for_the_database_to_know_what_was_seen(line: Line) -> None:
    """Neither is the database asked before the first id, nor is a record taken while it is away."""
    now = datetime.now(timezone.utc)
    flow = line.start_flow()
    line.send(*[log_at(now, id="a")], partition=0)
    line.wait_for_logs(1, flow)
    assert flow.stop() == 0
    flow = line.start_flow()
    with line.database_away():
        line.send(log_at(now, id="a"), log_at(now, id="b"), partition=0)
        line.wait_for(
            lambda: "cannot read the recent ids" in flow.log.read_text(), "the wait", flow
        )
    require_stored(line, flow, {"a": 1, "b": 1})


@pytest.mark.parametrize("is_back", [False, True], ids=["away", "back"])
def test_flow_that_is_told_to_stop_asks_a_database_that_was_away_once_more(
    line: Line, is_back: bool
) -> None:
    batch = RecordBatch.empty(1, 0, 1)
    batch.offset.append(0)
    batch.arrival_ms.append(0)
    with ExitStack() as away:
        away.enter_context(line.database_away())
        stopping = DuringThePause(away.close) if is_back else DuringThePause()
        seen_before = seen_in(line.settings, stopping, 10)
        if is_back:
            assert list(seen_before(batch)) == []
        else:
            with pytest.raises(StorageError, match="stopped while the database was away"):
                seen_before(batch)


def test_flow_goes_on_behind_records_that_were_all_repeats(line: Line) -> None:
    """They leave no row: what is stored must be known to reach past them all the same."""
    now = datetime.now(timezone.utc)
    flow = line.start_flow()
    line.send(log_at(now, id="a"), partition=0)
    line.wait_for_logs(1, flow)
    line.send(*[log_at(now, id="a")] * 2, partition=0)
    passed = "SELECT 1 FROM positions WHERE next_offset = 3"
    line.wait_for(lambda: len(line.query(passed)) == 2, "the repeats are passed", flow)
    flow.popen.kill()
    flow.popen.wait()
    flow = line.start_flow()
    require_stored(line, flow, {"a": 1})
    assert "the recovery store is of no use" not in flow.log.read_text()
