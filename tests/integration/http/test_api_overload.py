"""Ten times what the broker takes: refused, in bounded memory; what is acknowledged is kept.

A `publish` that lets everything in (RECORDS_IN_FLIGHT_MAX and BYTES_IN_FLIGHT_MAX as large as one
likes) is found by the first test: nobody is refused. One that counts nothing back is found by the
others: nothing is ever acknowledged again.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from api.publisher import RECORDS_IN_FLIGHT_MAX
from stack.broker import Broker
from stack.waiting import wait_until
from tests.integration.conftest import Line
from tests.integration.http.conftest import WAIT_S, Api, read_topic
from tests.integration.http.flood import Flood
from tests.integration.memory import peak_mib

UNLIMITED = {
    "TOCSIN_LIMIT_KEY_RECORDS": "off",
    "TOCSIN_LIMIT_ADDRESS_RECORDS": "off",
    "TOCSIN_LIMIT_ADDRESS_REQUESTS": "off",
    "TOCSIN_CLIENT_TIMEOUT_S": "300",
}
"""Nobody is to be refused for anything but Kafka."""
PEAK_MIB = 220
"""What may come on top of the memory of an API that has done nothing yet.

110: 100,000 records in flight, 150 bytes each in the body, in the list, and in the client, and 650
for their objects. 60: bodies of four hundred requests. 50: what the allocators keep. Measured: 106.
"""


@pytest.fixture
def overload(
    make_line: Callable[[Broker], Line], make_api: Callable[..., Api], own_broker: Broker
) -> Callable[[float], tuple[Line, Api]]:
    """A function that makes a line with an API on it, on a broker to break."""

    def make(publish_timeout_s: float) -> tuple[Line, Api]:
        line = make_line(own_broker)
        api = make_api(
            **UNLIMITED,
            KAFKA_BOOTSTRAP=own_broker.bootstrap,
            TOCSIN_TOPIC=line.settings.topic,
            TOCSIN_PUBLISH_TIMEOUT_S=str(publish_timeout_s),
        )
        api.start_ready()  # it cannot ask for its topic once the broker stands still
        assert api.key
        return line, api

    return make


def pid_of(api: Api) -> int:
    assert api.process is not None
    return api.process.pid


def test_no_more_is_in_flight_than_there_is_room_for(
    overload: Callable[[float], tuple[Line, Api]], own_broker: Broker, service: str
) -> None:
    """The broker stands still, and no request times out meanwhile: all that was let in is held."""
    line, api = overload(200)
    began = peak_mib(pid_of(api))
    flood = Flood(api, service, records=1_000)
    let_in = RECORDS_IN_FLIGHT_MAX // 1_000
    own_broker.pause()
    with flood.running(once=4 * let_in):
        wait_until(
            lambda: flood.statuses[503] == 3 * let_in or flood.wrong, "the 503s", deadline_s=180
        )
        looks = flood.alive
        wait_until(lambda: flood.alive > looks + 1, "it is alive", deadline_s=WAIT_S)
        assert flood.statuses == {503: 3 * let_in}
        taken = peak_mib(pid_of(api)) - began
        own_broker.resume()
    print(f"full: {taken} MiB more than {began}")
    assert flood.wrong == []
    assert flood.statuses == {503: 3 * let_in, 202: let_in}
    assert in_topic(line) == len(flood.acknowledged) == RECORDS_IN_FLIGHT_MAX
    assert taken < PEAK_MIB


def in_topic(line: Line) -> int:
    return len(read_topic(line.settings.kafka_bootstrap, line.settings.topic))


@contextmanager
def standing_still(broker: Broker) -> Iterator[None]:
    broker.pause()
    try:
        yield
    finally:
        broker.resume()


@contextmanager
def slow(broker: Broker) -> Iterator[None]:
    """Let the broker run for a tenth of the time."""
    over = threading.Event()

    def limp() -> None:
        while not over.is_set():
            broker.pause()
            over.wait(0.45)
            broker.resume()
            over.wait(0.05)

    thread = threading.Thread(target=limp)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


BROKERS = {"standing still": standing_still, "slow": slow}


def check_overload(
    line: Line, api: Api, broker: Broker, service: str, how: str, looks: int
) -> None:
    """Send too much until the API was found alive so often; let all go on; look at the table."""
    flow = line.start_flow()
    assert api.ingest({"service_id": service, "level": "INFO", "message": ""}).is_success
    line.wait_for_logs(1, flow)
    began = peak_mib(pid_of(api))
    flood = Flood(api, service, records=200)
    with flood.running(patient=12, impatient=12):
        with BROKERS[how](broker):
            wait_until(
                lambda: (flood.alive >= looks and flood.statuses.total() > looks) or flood.wrong,
                "the flood",
                deadline_s=600,
            )
        taken = peak_mib(pid_of(api)) - began
    print(f"{how}: {dict(flood.statuses)}, {taken} MiB more than {began}")
    assert flood.wrong == []
    assert set(flood.statuses) <= {202, 503}
    assert flood.statuses[503] or how == "slow"
    assert taken < PEAK_MIB
    ours = f"service_id = '{service}'"
    wanted = sorted(flood.acknowledged)
    assert wanted
    line.wait_for(
        lambda: (
            line.query(f"SELECT count(*) FROM logs WHERE {ours} AND id = ANY('{array(wanted)}')")
            == [(len(wanted),)]
        ),
        "what was acknowledged is stored",
        flow,
        deadline_s=120,
    )
    assert flow.stop() == 0
    assert line.query(f"SELECT id FROM logs WHERE {ours} GROUP BY id HAVING count(*) > 1") == []


def array(ids: list[str]) -> str:
    return "{" + ",".join(ids) + "}"


@pytest.mark.parametrize("how", BROKERS)
def test_overload_is_refused_and_what_is_acknowledged_is_stored_once(
    overload: Callable[[float], tuple[Line, Api]], own_broker: Broker, service: str, how: str
) -> None:
    line, api = overload(2)
    check_overload(line, api, own_broker, service, how, looks=60)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", BROKERS)
def test_long_overload_takes_no_more_memory(
    overload: Callable[[float], tuple[Line, Api]], own_broker: Broker, service: str, how: str
) -> None:
    line, api = overload(10)
    check_overload(line, api, own_broker, service, how, looks=500)
