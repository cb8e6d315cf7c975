"""A service takes what is documented, however many there are, and if each is heard only once."""

import pytest

from bench.detector_memory import GOAL_BYTES
from tests.integration.conftest import Line
from tests.integration.memory import peak_mib
from tests.integration.test_backpressure import PEAK_MIB, fill

SNAPSHOT_COPIES = 2
"""A detector, and its snapshot while it is written."""


def check_services(line: Line, services: int, records_each: int) -> None:
    """Let so many services speak within a minute; each is counted, and takes what it may."""
    flow = line.start_flow()
    began = peak_mib(flow.pid)
    fill(line, services * records_each, services=services)
    line.wait_for(
        lambda: line.query("SELECT sum(total) FROM error_windows") == [(services * records_each,)],
        "every record is counted",
        flow,
        deadline_s=600,
    )
    assert line.query("SELECT count(DISTINCT service_id) FROM error_windows") == [(services,)]
    taken = peak_mib(flow.pid) - began
    print(f"{services} services: {taken} MiB more than {began}")
    assert flow.stop(grace_s=120) == 0
    assert line.query("SELECT count(*) FROM logs") == [(services * records_each,)]
    states_mib = SNAPSHOT_COPIES * services * GOAL_BYTES // 2**20
    assert taken < PEAK_MIB // 2 + states_mib


def test_ten_thousand_services_in_a_minute(line: Line) -> None:
    """Half of what a full backlog may take is left for everything else: the room is not full."""
    check_services(line, 10_000, 3)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_hundred_thousand_services_that_are_heard_once(line: Line) -> None:
    check_services(line, 100_000, 1)
