"""The flow on a real broker and a real TimescaleDB: stored once, counted, judged."""

import json
import signal
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.integration.conftest import Line

MINUTE = timedelta(minutes=1)


def log_at(
    when: datetime, level: str = "INFO", service: str = "checkout", **more: Any
) -> dict[str, Any]:
    return {
        "timestamp": when.isoformat(),
        "service_id": service,
        "level": level,
        "message": f"{level} of {service}",
        **more,
    }


def history(
    now: datetime, *, minutes: int, errors: int = 1, service: str = "checkout"
) -> list[dict[str, Any]]:
    """One INFO and some ERROR records in each of the minutes before now's."""
    start = now.replace(second=0, microsecond=0) - minutes * MINUTE
    return [
        log_at(start + i * MINUTE + timedelta(seconds=second), level, service)
        for i in range(minutes)
        for second, level in enumerate(["INFO", *["ERROR"] * (errors + i % 2)])
    ]


def test_record_is_stored_with_all_its_columns(line: Line) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    line.send(log_at(now, "WARNING", metadata={"a": 1}, id="r-1"), log_at(now, message=""))
    line.wait_for_logs(2, flow)
    rows = line.query(
        "SELECT timestamp, service_id, level::text, message, metadata, id FROM logs"
        ' ORDER BY "offset"'
    )
    assert rows == [
        (now, "checkout", "WARN", "WARNING of checkout", {"a": 1}, "r-1"),
        (now, "checkout", "INFO", "", None, None),
    ]
    assert line.query(
        'SELECT incarnation, count(DISTINCT "offset"), min("offset") FROM logs GROUP BY 1'
    ) == [(1, 2, 0)]


def test_burst_opens_one_incident_with_its_evidence(line: Line) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    line.send(*history(now, minutes=35))
    line.send(*[log_at(now, "ERROR") for _ in range(40)])
    line.wait_for(lambda: line.count("incidents"), "an incident", flow)
    line.wait_for_logs(35 + 35 + 17 + 40, flow)
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE observed = 40"), "all counted", flow
    )
    [(title, service, status, severity, n, errors)] = line.query(
        "SELECT title, service_id, status::text, severity::text, baseline_windows, baseline_errors"
        " FROM incidents"
    )
    assert title.startswith("Anomaly Detected")
    assert (service, status, severity, n) == ("checkout", "OPEN", "CRITICAL", 30)
    assert 30 <= errors <= 60


def test_killed_flow_stores_every_record_once(line: Line) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    for round_ in range(4):
        line.send(*[log_at(now, service=f"s-{i % 7}", id=f"{round_}-{i}") for i in range(2000)])
        line.wait_for_logs(2000 * round_ + 500, flow)
        flow.popen.send_signal(signal.SIGKILL)
        flow.popen.wait()
        flow = line.start_flow()
    line.wait_for_logs(8000, flow)
    assert line.query("SELECT count(*), count(DISTINCT id) FROM logs") == [(8000, 8000)]
    line.wait_for(
        lambda: line.query("SELECT sum(total) = 8000 FROM error_windows") == [(True,)],
        "every record counted",
        flow,
    )
    assert flow.stop() == 0
    assert line.query("SELECT sum(total) FROM error_windows") == [(8000,)]


def test_stopped_flow_has_stored_what_it_read_and_exits_cleanly(line: Line) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    line.send(*[log_at(now, service=f"s-{i % 7}") for i in range(3000)])
    line.wait_for_logs(1, flow)
    assert flow.stop(grace_s=10) == 0
    stored = line.count("logs")
    [(position,)] = line.query("SELECT sum(next_offset) FROM positions WHERE stage = 'logs'")
    assert position == stored
    flow = line.start_flow()
    line.wait_for_logs(3000, flow)
    assert flow.stop(grace_s=10) == 0
    assert line.count("logs") == 3000


def test_poison_is_put_aside_with_its_reason_and_stops_nothing(line: Line) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    good = json.dumps(log_at(now)).encode()
    ahead = json.dumps(log_at(now + timedelta(hours=1))).encode()
    poison = [b"", b"\xff", b"{}", b"[]", good[:-1], good.replace(b"INFO", b"LOUD"), ahead]
    for value in [good, *poison, None, good]:
        line.send_raw(value, key=b"checkout")
    line.flush()
    line.wait_for_logs(2, flow)
    letters = line.query('SELECT raw, reason, key FROM dead_letters ORDER BY "offset"')
    assert [bytes(raw) for raw, _, _ in letters] == [*poison, b""]
    assert all(reason for _, reason, _ in letters)
    assert {bytes(key) for _, _, key in letters} == {b"checkout"}


NASTY = {
    "exponent": b'{"a":1e1000000000000000000}',
    "deep": b'{"p":"' + b"x" * 11_000 + b'","a":' + b"[" * 985 + b"]" * 985 + b"}",
    "NUL in a field's name": b'{},"\\u0000":1',
    "large": b'{"p":"' + b"x" * 900_000 + b'"}',
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty_record_is_one_dead_letter_and_what_follows_is_stored(line: Line, name: str) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    record = json.dumps(log_at(now)).encode()[:-1] + b',"metadata":' + NASTY[name] + b"}"
    line.send_raw(record, key=b"checkout", partition=0)
    line.flush()
    line.send(log_at(now), partition=0)
    line.wait_for_logs(1, flow)
    assert line.query("SELECT count(*) FROM dead_letters") == [(1,)]
    assert flow.stop() == 0


@pytest.mark.producers_time
@pytest.mark.parametrize("arrival_ms", [316_000_000_000_000, 9 * 10**15])
def test_arrival_that_cannot_be_harms_nothing(line: Line, arrival_ms: int) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    record = json.dumps(log_at(now)).encode()
    line.send_raw(record, key=b"checkout", partition=0, arrival_ms=arrival_ms)
    line.flush()
    line.wait_for_logs(1, flow)
    [(arrival,)] = line.query("SELECT arrival FROM logs")
    assert abs(arrival - now) < timedelta(minutes=1)
    assert flow.stop() == 0


def test_half_made_recovery_store_is_not_taken_for_one(line: Line) -> None:
    folder = line.settings.recovery_dir
    (folder / "tmp-of-a-killed-start").mkdir(parents=True)
    (folder / "tmp-of-a-killed-start/part-0.sqlite3").touch()
    flow = line.start_flow()
    line.send(log_at(datetime.now(timezone.utc)))
    line.wait_for_logs(1, flow)


@pytest.mark.producers_time
def test_wall_clock_resolves_the_incident_of_a_service_that_fell_silent(line: Line) -> None:
    burst = datetime.now(timezone.utc) - timedelta(minutes=20)
    records = [*history(burst, minutes=10), *[log_at(burst, "ERROR") for _ in range(30)]]
    for record in records:
        line.send_raw(
            json.dumps(record).encode(),
            key=b"checkout",
            arrival_ms=int(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000),
        )
    line.flush()
    # Not sooner: a flow that had read all would take a pause between two of them for silence.
    flow = line.start_flow()
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE status = 'RESOLVED'"), "calm", flow
    )
    [(windows, minutes, newest)] = line.query(
        "SELECT count(*), extract(epoch FROM max(window_start) - min(window_start)) / 60,"
        " now() - max(window_start) FROM error_windows"
    )
    assert windows == minutes + 1
    assert newest < timedelta(minutes=4)


def test_topic_that_was_made_again_while_the_flow_was_down_is_read_from_its_beginning(
    line: Line,
) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    line.send(*[log_at(now, service=f"s-{i % 7}") for i in range(200)])
    line.wait_for_logs(200, flow)
    assert flow.stop() == 0
    line.make_topic_again()
    line.send(*[log_at(now, service=f"s-{i % 7}") for i in range(50)])
    flow = line.start_flow()
    line.wait_for_logs(250, flow)
    assert flow.stop() == 0
    assert line.query("SELECT sum(total + late_total) FROM error_windows") == [(250,)]


def test_topic_that_is_made_again_while_the_flow_reads_is_read_from_its_beginning(
    full_line: Line,
) -> None:
    """On Apache Kafka: a topic of the light broker's that goes while it is read ends librdkafka."""
    line = full_line
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    line.send(*[log_at(now, service=f"s-{i % 7}") for i in range(50)], partition=0)
    line.wait_for_logs(50, flow)
    line.make_topic_again()
    line.send(*[log_at(now, service=f"s-{i % 7}") for i in range(200)], partition=0)
    line.wait_for_logs(250, flow)
    line.wait_for(
        lambda: line.query("SELECT sum(total + late_total) = 250 FROM error_windows") == [(True,)],
        "every record counted",
        flow,
    )
    assert flow.stop() == 0
    assert line.query(
        'SELECT incarnation, count(*), count(DISTINCT "offset"), min("offset"), max("offset")'
        " FROM logs GROUP BY 1 ORDER BY 1"
    ) == [(1, 50, 50, 0, 49), (2, 200, 200, 0, 199)]
    assert line.query("SELECT sum(total + late_total) FROM error_windows") == [(250,)]


def test_second_flow_on_the_same_recovery_folder_says_so_and_ends(line: Line) -> None:
    line.start_flow()
    second = line.start_flow(wait=False)
    assert second.popen.wait(60) == 1
    assert "another flow uses the recovery folder" in second.last_words()


def test_second_flow_with_a_folder_of_its_own_gives_way(line: Line) -> None:
    first = line.start_flow()
    second = line.start_flow(recovery="other", wait=False)
    now = datetime.now(timezone.utc)
    line.send(*[log_at(now, service=f"s-{i % 7}", id=f"{i}") for i in range(3000)])
    line.wait_for_logs(3000, first)
    assert second.popen.wait(60) == 1
    assert "another flow reads the topic" in second.last_words()
    assert line.query("SELECT count(*), count(DISTINCT id) FROM logs") == [(3000, 3000)]


def test_flow_takes_over_at_once_from_one_that_was_killed(line: Line) -> None:
    first = line.start_flow()
    first.popen.send_signal(signal.SIGKILL)
    first.popen.wait()
    second = line.start_flow()
    line.send(log_at(datetime.now(timezone.utc)))
    line.wait_for_logs(1, second)
