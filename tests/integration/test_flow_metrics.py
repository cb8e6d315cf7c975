"""What the flow tells Prometheus, and what it does when retention was faster than it."""

import signal
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from confluent_kafka import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from stack.broker import Broker
from stack.kafka import KafkaBroker
from stack.ports import free_port
from stack.processes import Process
from stack.waiting import wait_until
from tests.integration.conftest import WAIT_S, Line
from tests.integration.test_flow import history, log_at
from tocsin.topics import admin_client


class Metered:
    """A line whose flows serve their metrics."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.port = free_port()

    def start_flow(self, workers: int = 1, *, epoch_s: float = 0.5) -> Process:
        environ = {
            "TOCSIN_FLOW_METRICS_PORT": str(self.port),
            "TOCSIN_EPOCH_S": str(epoch_s),
        }
        return self.line.start_flow(workers=workers, environ=environ)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of that name with these labels."""
        return sum(self._samples(name, **labels))

    def lag(self) -> float:
        """Return how much is unread; ask again where the broker did not tell the flow in time."""
        samples = wait_until(self.lags, "a lag is told", deadline_s=WAIT_S)
        return sum(samples)

    def lags(self) -> list[float]:
        """Return the records of each partition that are not read yet, none while Kafka is away."""
        return self._samples("tocsin_flow_lag_records")

    def _samples(self, name: str, **labels: str) -> list[float]:
        url = f"http://127.0.0.1:{self.port}/metrics"
        answer = httpx.get(url, timeout=WAIT_S, trust_env=False)
        return [
            sample.value
            for family in text_string_to_metric_families(answer.raise_for_status().text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]


def test_flow_counts_what_it_does(line: Line) -> None:
    metered = Metered(line)
    flow = metered.start_flow()
    now = datetime.now(timezone.utc)
    records = [*history(now, minutes=35), *[log_at(now, "ERROR") for _ in range(40)]]
    line.send(*records, log_at(now, id="a"), log_at(now, id="a"), partition=0)
    line.wait_for(
        lambda: metered.metric("tocsin_flow_incidents_total", moment="opened") == 1, "a step", flow
    )
    # Not sooner: a record of the other partition may overtake those before it.
    line.send(log_at(now), partition=1)
    line.send_raw(b"poison", partition=0)
    line.flush()
    line.wait_for(lambda: metered.metric("tocsin_flow_strays_total") == 1, "the stray", flow)
    line.wait_for(lambda: line.count("dead_letters"), "the dead letter", flow)
    assert metered.metric("tocsin_flow_records_total") == len(records) + 2
    line.wait_for_logs(len(records) + 2, flow)
    assert metered.metric("tocsin_flow_dead_letters_total") == 1
    assert metered.metric("tocsin_flow_repeats_total") == 1
    assert metered.metric("tocsin_flow_windows_total") >= 36
    assert metered.metric("tocsin_flow_windows_total", verdict="fire") >= 1
    assert metered.metric("tocsin_flow_windows_total", verdict="warming_up") >= 5
    line.wait_for(
        lambda: metered.metric("tocsin_flow_waiting_ratio") == 0, "nothing waits for a writer", flow
    )
    for writer in ("logs-0", "logs-1", "detection"):
        assert metered.metric("tocsin_flow_commit_seconds_count", writer=writer) >= 1
    line.wait_for(lambda: metered.lag() == 0, "no lag", flow)


@pytest.mark.parametrize(("minutes", "late"), [(0, 0), (1, 0), (2, 3), (30, 3), (600, 3)], ids=str)
def test_records_are_late_when_their_window_is_closed(line: Line, minutes: int, late: int) -> None:
    metered = Metered(line)
    flow = metered.start_flow()
    now = datetime.now(timezone.utc)
    line.send(log_at(now), *[log_at(now - timedelta(minutes=minutes))] * 3, partition=0)
    judged = "SELECT 1 FROM positions WHERE stage = 'detection' AND next_offset = 4"
    line.wait_for(lambda: line.query(judged), "the end of the topic", flow)
    assert metered.metric("tocsin_flow_late_records_total") == late


def test_lag_is_told_while_the_flow_stands(full_line: Line) -> None:
    line, metered = full_line, Metered(full_line)
    flow = metered.start_flow()
    now = datetime.now(timezone.utc)
    line.send(log_at(now, id="a"), partition=0)
    line.wait_for_logs(1, flow)
    assert flow.stop() == 0
    flow = metered.start_flow()
    with line.database_away():
        # The flow waits for the database, to know what was seen before the first id, or sooner
        # to store how far it has read.
        line.send(*[log_at(now, id=f"{i}") for i in range(500)], partition=0)
        line.wait_for(lambda: "trying again" in flow.log.read_text(), "the wait", flow)
        line.send(*[log_at(now, id=f"{i}") for i in range(500, 1000)], partition=0)
        line.wait_for(lambda: metered.lag() >= 500, "a lag", flow)
    line.wait_for(lambda: metered.lag() == 0, "no lag", flow)


def test_no_lag_is_told_while_kafka_hangs(
    own_full_broker: KafkaBroker, make_line: Callable[[Broker], Line]
) -> None:
    line = make_line(own_full_broker)
    metered = Metered(line)
    flow = metered.start_flow()
    line.send(log_at(datetime.now(timezone.utc)), partition=0)
    line.wait_for(lambda: metered.lag() == 0, "no lag", flow)
    own_full_broker.pause()
    try:
        assert metered.lags() == []
    finally:
        own_full_broker.resume()
    line.wait_for(metered.lags, "a lag is told again", flow)


def test_port_that_is_taken_is_named_in_one_line(line: Line, tmp_path: Path) -> None:
    metered = Metered(line)
    metered.start_flow()
    environ = {"TOCSIN_FLOW_METRICS_PORT": str(metered.port)}
    second = line.start_flow(environ=environ, wait=False)
    assert second.popen.wait(60) == 1
    assert second.last_words().startswith("tocsin: TOCSIN_FLOW_METRICS_PORT: cannot listen on")


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "standing still"])
def test_records_that_retention_removed_unread_are_told_and_counted(
    full_line: Line, is_stopped: bool
) -> None:
    line, metered = full_line, Metered(full_line)
    flow = metered.start_flow()
    now = datetime.now(timezone.utc)
    line.send(*[log_at(now) for _ in range(100)], partition=0)
    line.wait_for_logs(100, flow)
    if is_stopped:
        assert flow.stop() == 0
    else:
        flow.popen.send_signal(signal.SIGSTOP)
    # What a fetch that was under way brings the flow, when it goes on, are the first few of these.
    for _ in range(10):
        line.send(*[log_at(now) for _ in range(30)], partition=0)
    admin = admin_client(line.settings)
    place = TopicPartition(line.settings.topic, 0, 350)
    admin.delete_records([place])[place].result()
    if is_stopped:
        flow = metered.start_flow()
    else:
        flow.popen.send_signal(signal.SIGCONT)
    line.wait_for(
        lambda: line.query('SELECT max("offset") FROM logs') == [(399,)], "the rest", flow
    )
    stored = line.count("logs")
    lost = int(metered.metric("tocsin_flow_lost_records_total", partition="0"))
    assert (stored, lost) == (150, 250) if is_stopped else stored + lost == 400 > stored
    [said] = [row for row in flow.log.read_text().splitlines() if "before they were read" in row]
    assert f"lost={lost} " in said
    assert flow.stop() == 0
    assert line.query("SELECT sum(total) FROM error_windows") == [(stored,)]
