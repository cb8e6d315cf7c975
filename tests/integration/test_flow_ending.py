"""A flow that is asked to end ends within ten seconds, though a server hangs, and says why."""

import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from urllib.parse import urlsplit

import psycopg
import pytest

from stack.broker import Broker
from stack.processes import Process
from stack.waiting import wait_until
from tests.faults.proxy import TcpProxy
from tests.integration.conftest import WAIT_S, Line
from tests.integration.test_flow import log_at
from tests.integration.test_flow_metrics import Metered

ENDS_WITHIN_S = 10


class Hanging:
    """A line whose flows reach the database by a proxy, to stand still."""

    def __init__(self, line: Line, proxy: TcpProxy) -> None:
        self.line = line
        self.proxy = proxy
        self.metered = Metered(line)
        place = urlsplit(line.settings.database_url)
        host = f"{place.netloc.rpartition(':')[0]}:{proxy.port}"
        self._url = place._replace(netloc=host).geturl()

    def start_flow(self, *, wait: bool = True, patience_s: float = 30) -> Process:
        environ = {
            "DATABASE_URL": self._url,
            "TOCSIN_DATABASE_PATIENCE_S": str(patience_s),
            "TOCSIN_FLOW_METRICS_PORT": str(self.metered.port),
        }
        return self.line.start_flow(environ=environ, wait=wait)

    def started_flow(self, *, patience_s: float = 30) -> Process:
        """Return a flow that has stored something."""
        flow = self.start_flow(patience_s=patience_s)
        self.line.send(log_at(datetime.now(timezone.utc)))
        counted = "SELECT 1 FROM positions WHERE stage = 'detection' AND next_offset > 0"
        self.line.wait_for(lambda: self.line.query(counted), "a record is stored", flow)
        return flow


@pytest.fixture
def hanging(line: Line) -> Iterator[Hanging]:
    proxy = TcpProxy()
    proxy.target = urlsplit(line.settings.database_url).port or 0
    proxy.start()
    yield Hanging(line, proxy)
    # The flow is gone before the proxy is, or it would wait for it.
    line.close()
    proxy.resume()
    proxy.stop()


def require_end(flow: Process) -> str:
    """Ask the flow to end, and return its last line."""
    began = time.monotonic()
    flow.popen.send_signal(signal.SIGTERM)
    code = flow.popen.wait(WAIT_S)
    took = time.monotonic() - began
    words = flow.log.read_text()
    assert took < ENDS_WITHIN_S, words
    assert code == 1, words
    assert "Traceback" not in words
    return words.splitlines()[-1]


def require_all_stored(line: Line, sent: int) -> None:
    """What was not stored is read again, once."""
    flow = line.start_flow()
    line.wait_for_logs(sent, flow)
    assert flow.stop() == 0
    assert line.count("logs") == sent
    assert line.query("SELECT sum(total + late_total) FROM error_windows") == [(sent,)]


def test_flow_ends_while_a_commit_hangs(hanging: Hanging) -> None:
    flow = hanging.started_flow()
    hanging.proxy.stand_still()
    hanging.line.send(*[log_at(datetime.now(timezone.utc)) for _ in range(1000)])
    waiting = partial(hanging.metered.metric, "tocsin_flow_waiting_ratio")
    hanging.line.wait_for(waiting, "a commit hangs", flow)
    assert require_end(flow) == (
        "tocsin: stopped while nothing could be stored (no answer from the database for 4 s after "
        "the signal to stop); what it had not stored is read again at the next start"
    )
    hanging.proxy.resume()
    require_all_stored(hanging.line, 1001)


def test_flow_ends_while_it_connects_anew_to_a_database_that_hangs(hanging: Hanging) -> None:
    flow = hanging.started_flow(patience_s=1)
    hanging.proxy.stand_still()
    former = hanging.proxy.accepted
    hanging.line.send(log_at(datetime.now(timezone.utc)))
    hanging.line.wait_for(lambda: hanging.proxy.accepted > former, "a new connection", flow)
    said = require_end(flow)
    assert said.startswith("tocsin: stopped while nothing could be stored (")
    hanging.proxy.resume()
    require_all_stored(hanging.line, 2)


def test_flow_ends_while_it_asks_a_database_that_hangs_for_the_recent_ids(
    hanging: Hanging,
) -> None:
    assert hanging.started_flow().stop() == 0
    flow = hanging.start_flow()
    hanging.proxy.stand_still()
    former = hanging.proxy.accepted
    hanging.line.send(log_at(datetime.now(timezone.utc), id="a"))
    hanging.line.wait_for(lambda: hanging.proxy.accepted > former, "a new connection", flow)
    assert require_end(flow).startswith("tocsin: stopped while ")
    hanging.proxy.resume()
    require_all_stored(hanging.line, 2)


def test_flow_that_starts_ends_while_the_database_hangs(hanging: Hanging) -> None:
    hanging.proxy.stand_still()
    flow = hanging.start_flow(wait=False)
    wait_until(lambda: hanging.proxy.accepted, "a connection", deadline_s=WAIT_S)
    assert "cannot be reached: " in require_end(flow)


def test_flow_ends_while_a_dead_letter_waits_for_a_broker_that_hangs(
    make_line: Callable[[Broker], Line], own_broker: Broker
) -> None:
    line = make_line(own_broker)
    flow = line.start_flow()
    line.send(log_at(datetime.now(timezone.utc)))
    line.wait_for_logs(1, flow)
    waiting = "SELECT 1 FROM pg_locks WHERE relation = 'dead_letters'::regclass AND NOT granted"
    with psycopg.connect(line.settings.database_url) as conn:
        conn.execute("LOCK TABLE dead_letters IN EXCLUSIVE MODE")
        line.send_raw(b"poison")
        line.flush()
        line.wait_for(lambda: line.query(waiting), "the letter is being stored", flow)
        own_broker.pause()
    assert require_end(flow) == (
        f"tocsin: stopped while nothing could be stored (cannot write to the topic "
        f"{line.settings.dead_letter_topic}: no answer in time); "
        "what it had not stored is read again at the next start"
    )
    own_broker.resume()
    flow = line.start_flow()
    line.wait_for(lambda: line.count("dead_letters") == 1, "the letter", flow)
    assert flow.stop() == 0
    assert line.count("logs") == 1
