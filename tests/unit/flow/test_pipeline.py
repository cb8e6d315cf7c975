"""The whole dataflow without a server: the real steps between a source and sinks of lists."""

import json
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main

from flows.detect import Changes, OneBook, detector_builder
from flows.known import NOTHING_KNOWN
from flows.parse import parse_batch
from flows.pipeline import Sinks, build_flow
from flows.rows import IncidentRow, WindowRow
from flows.sinks import Progress
from tocsin.batches import RawBatch, RecordBatch
from tocsin.detection import WINDOW_MS, IncidentKind, IncidentStatus
from tocsin.settings_versions import SettingsBook

START = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
QUIET_MINUTES = 12
Message = tuple[int, bytes]  # arrival in ms, value


def message(service_id: str, when: datetime, level: str) -> Message:
    record = {
        "timestamp": when.isoformat(),
        "service_id": service_id,
        "level": level,
        "message": "m",
    }
    return int(when.timestamp() * 1000), json.dumps(record).encode()


def topic() -> list[Message]:
    """Twelve quiet minutes of two services, a burst of one of them, and one poisoned message."""
    messages = [
        message(service_id, START + timedelta(minutes=minute, seconds=second), level)
        for minute in range(QUIET_MINUTES)
        for second, level in enumerate(["INFO", "ERROR", "INFO"])
        for service_id in ("checkout", "search")
    ]
    burst = START + timedelta(minutes=QUIET_MINUTES)
    messages += [message("checkout", burst + timedelta(seconds=n), "ERROR") for n in range(30)]
    messages.insert(20, (messages[20][0], b"poison"))
    return messages


def polls(messages: list[Message], size: int) -> list[RawBatch]:
    return [
        RawBatch(
            incarnation=1,
            partition=0,
            next_offset=first + len(piece),
            key=[None] * len(piece),
            value=[value for _, value in piece],
            arrival_ms=[arrival_ms for arrival_ms, _ in piece],
            offset=list(range(first, first + len(piece))),
            read_until_ms=piece[-1][0],
        )
        for first in range(0, len(messages), size)
        for piece in [messages[first : first + size]]
    ]


def run(
    size: int, *, workers: int = 1, messages: list[Message] | None = None
) -> tuple[list[RecordBatch], list[Changes | Progress]]:
    logs: list[Any] = []
    detection: list[Any] = []
    source = TestingSource(polls(messages or topic(), size))
    books = OneBook(SettingsBook.of_defaults())
    flow = build_flow(
        source,
        parse_batch,
        detector_builder(books, NOTHING_KNOWN),
        Sinks(TestingSink(logs), TestingSink(detection)),
    )
    if workers == 1:
        run_main(flow)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)
    return [batch for _, batch in logs], [change for _, change in detection]


def newest(
    changes: list[Changes | Progress],
) -> tuple[dict[Any, WindowRow], dict[str, IncidentRow]]:
    windows: dict[Any, WindowRow] = {}
    incidents: dict[str, IncidentRow] = {}
    for change in changes:
        if isinstance(change, Changes):
            for window in change.outcome.windows:
                windows[window.service_id, window.window_start_ms] = window
            for incident in change.outcome.incidents:
                incidents[incident.incident_id] = incident
    return windows, incidents


def test_every_record_and_every_dead_letter_reaches_the_log_sink() -> None:
    batches, _ = run(size=7)
    offsets = [offset for batch in batches for offset in batch.offset]
    dead = [letter.offset for batch in batches for letter in batch.dead_letters]
    assert dead == [20]
    assert sorted(offsets + dead) == list(range(len(topic())))


def test_burst_opens_an_incident_of_its_service_alone() -> None:
    _, incidents = newest(run(size=7)[1])
    [incident] = incidents.values()
    assert incident.service_id == "checkout"
    assert incident.count == 30
    assert (incident.plain_n, incident.plain_sum) == (QUIET_MINUTES - 1, QUIET_MINUTES - 1)


def test_progress_is_told_of_every_batch() -> None:
    _, changes = run(size=7)
    ends = [change.next_offset for change in changes if isinstance(change, Progress)]
    assert ends == [*range(7, len(topic()), 7), len(topic())]


@pytest.mark.parametrize(("size", "workers"), [(1, 1), (3, 1), (1000, 1), (7, 2)])
def test_windows_and_incidents_depend_neither_on_batches_nor_on_workers(
    size: int, workers: int
) -> None:
    def meaning(size: int, workers: int) -> Any:
        windows, incidents = newest(run(size, workers=workers)[1])
        counts = {key: (row.errors, row.total, row.verdict) for key, row in windows.items()}
        return counts, {key: (row.count, row.severity) for key, row in incidents.items()}

    assert meaning(size, workers) == meaning(20, 1)


def test_silent_service_has_its_windows_closed_and_its_incident_resolved_by_others() -> None:
    burst = START + timedelta(minutes=QUIET_MINUTES)
    others = [
        message("search", burst + timedelta(minutes=minute), "INFO") for minute in range(1, 20)
    ]
    _, changes = run(size=7, messages=topic() + others)
    windows, incidents = newest(changes)
    status = {incident.kind: incident.status for incident in incidents.values()}
    assert status == {
        IncidentKind.ERRORS: IncidentStatus.RESOLVED,
        IncidentKind.SILENCE: IncidentStatus.OPEN,
    }
    own = sorted(start for service_id, start in windows if service_id == "checkout")
    assert [b - a for a, b in pairwise(own)] == [WINDOW_MS] * (len(own) - 1)
    assert own[-1] >= int((burst + timedelta(minutes=17)).timestamp() * 1000)
