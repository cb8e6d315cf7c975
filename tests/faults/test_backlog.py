"""Law 2: an hour of backlog after downtime gives what the same records would have given live.

Live is every record judged by itself as it arrives, by the detector alone.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from random import Random
from typing import Final

from bench.replay import GUARDED, Tables, replay
from flows import detection_rows
from flows.known import Place
from flows.rows import Run
from sql import writer
from sql.connect import connect
from stack.waiting import wait_until
from tests.faults.checker import read_tables
from tests.faults.rig import WAIT_S, Rig, wait_until_stored
from tocsin.detection import WINDOW_MS

MakeRig = Callable[..., Rig]

MINUTES: Final = 95
QUIET_FROM: Final = 80
SERVICES: Final = {
    # name: (records a minute, minutes of bursts, minutes of silence)
    "steady": (30, [], []),
    "bursty": (40, [40, 41, 42, 60], []),
    "pausing": (20, [45, 46, 47, 48], range(50, 62)),
    "ending": (20, [55, 56, 57], range(58, MINUTES)),
    "straggling": (30, [38, 39, 40], []),
}
PARTITIONS: Final = {service: number % 4 for number, service in enumerate(SERVICES)}


class Arrival:
    """A record as it arrives."""

    def __init__(self, service: str, at_ms: int, event_ms: int, level: str) -> None:
        self.service, self.at_ms, self.event_ms, self.level = service, at_ms, event_ms, level

    def json(self) -> bytes:
        moment = datetime.fromtimestamp(self.event_ms / 1000, timezone.utc)
        return json.dumps(
            {
                "timestamp": moment.isoformat(),
                "service_id": self.service,
                "level": self.level,
                "message": "m",
            }
        ).encode()


def arrivals(start_ms: int, chance: Random) -> list[Arrival]:
    """Return an hour and a half of records in the order of their arrival."""
    found = []
    for service, (size, bursts, silence) in SERVICES.items():
        for minute in range(MINUTES):
            if minute in silence:
                continue
            errors = 40 + chance.randrange(20) if minute in bursts else chance.randrange(3)
            for place in range(size + errors):
                event_ms = start_ms + minute * WINDOW_MS + place * WINDOW_MS // (size + errors)
                delay_ms = chance.randrange(2_000)
                if service == "straggling" and minute < QUIET_FROM and chance.random() < 0.05:
                    delay_ms = chance.choice([60_000, 90_000, 400_000])
                level = "ERROR" if place < errors else "INFO"
                found.append(Arrival(service, event_ms + delay_ms, event_ms, level))
    return sorted(found, key=lambda arrival: arrival.at_ms)


def runs(sent: list[Arrival]) -> Iterator[tuple[str, Run]]:
    """Yield every record as a run of its own, with the offset that it has in the topic."""
    offsets: dict[int, int] = defaultdict(int)
    for one in sent:
        part = PARTITIONS[one.service]
        is_error = one.level == "ERROR"
        window = one.event_ms // WINDOW_MS
        yield one.service, Run(window, 1, is_error, one.at_ms, one.at_ms, offsets[part])
        offsets[part] += 1


def judged_live(sent: list[Arrival]) -> dict[str, Tables]:
    """Return what the detector says of every service, each record as it arrives."""
    by_service: dict[str, list[Run]] = defaultdict(list)
    for service, run in runs(sent):
        by_service[service].append(run)
    end = max(one.event_ms for one in sent) // WINDOW_MS + 20
    return {
        service: replay(own, end, GUARDED, service_id=service, drain_every=1)
        for service, own in by_service.items()
    }


def store(database_url: str, live: dict[str, Tables]) -> None:
    with connect(database_url, name="tests") as conn:
        for service, tables in live.items():
            part = PARTITIONS[service]
            rows = [(Place(1, part, row.offset), row) for row in tables.windows.values()]
            writer.upsert_windows(conn, detection_rows.windows(rows))
            incidents = [*tables.incidents.values(), *tables.silences.values()]
            writer.upsert_incidents(conn, detection_rows.incidents((1, row) for row in incidents))
            events = [*tables.events, *tables.silence_events]
            writer.insert_incident_events(conn, detection_rows.events(events))


def test_hour_of_backlog_gives_what_live_would_have_given(make_rig: MakeRig) -> None:
    rig = make_rig(producers_time=True)
    start_ms = (int(time.time() * 1000) // WINDOW_MS - MINUTES - 10) * WINDOW_MS
    sent = arrivals(start_ms, rig.chance)
    for one in sent:
        rig.line.send_raw(
            one.json(),
            key=one.service.encode(),
            partition=PARTITIONS[one.service],
            arrival_ms=one.at_ms,
        )
    rig.line.flush()
    rig.start_flow()
    # Down once more in the middle of the backlog, wherever that is.
    wait_until(lambda: rig.line.count("logs"), "some of it", deadline_s=WAIT_S)
    rig.kill_flow()
    rig.start_flow()
    wait_until_stored(rig.line, rig.flow.require_running)
    # The wall clock closes the windows of the service that was the last of its partition.
    open_ones = "SELECT count(*) FROM incidents WHERE status = 'OPEN' AND kind = 'errors'"
    rig.wait_for(lambda: rig.line.query(open_ones) == [(0,)], "every incident resolved")
    assert rig.flow.stop() == 0
    assert rig.line.query(
        "SELECT count(*), (SELECT sum(total + late_total) FROM error_windows) FROM logs"
    ) == [(len(sent), len(sent))]
    store(rig.fresh_database_url, judged_live(sent))
    backlog, live = read_tables(rig.line.settings.database_url), read_tables(rig.fresh_database_url)
    differences = backlog.differences(live)
    assert not differences, "\n".join(differences)
    kinds = {(row["service_id"], row["kind"]) for row in live.incidents.values()}
    assert kinds == {
        ("bursty", "errors"),
        ("pausing", "errors"),
        ("pausing", "silence"),
        ("ending", "errors"),
        ("straggling", "errors"),
    }
