"""Ledgers without a flow: what a detector says of a series, written as the flow would."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from bench.replay import GUARDED, Tables, closed_runs, replay
from flows import detection_rows
from flows.known import Place
from flows.rows import IncidentRow
from sql import writer
from sql.connect import connect

FIRST_WINDOW = 29_540_160
"""2026-03-02 00:00 UTC."""

BURST = [1, 2] * 20 + [60, 45, 50] + [1, 2] * 5
"""Errors of every minute: normal for 40 of them, then three bad ones, then calm."""


def replayed(service_id: str, errors: Sequence[int] = BURST) -> Tables:
    """Return what a detector says of a service with so many errors, and ten others, a minute."""
    minutes = [
        (window, count + 10 if count >= 0 else 0, max(count, 0))
        for window, count in enumerate(errors, FIRST_WINDOW)
    ]
    end = FIRST_WINDOW + len(errors) + 1
    return replay(closed_runs(minutes), end, GUARDED, service_id=service_id)


def store(database_url: str, tables: Tables) -> list[IncidentRow]:
    """Write all rows; return the incidents, of errors and of silence."""
    incidents = [*tables.incidents.values(), *tables.silences.values()]
    events = [*tables.events, *tables.silence_events]
    windows = [(Place(1, 0, row.offset), row) for row in tables.windows.values()]
    with connect(database_url, name="tests") as conn:
        writer.upsert_windows(conn, detection_rows.windows(windows))
        writer.upsert_incidents(conn, detection_rows.incidents((1, row) for row in incidents))
        writer.insert_incident_events(conn, detection_rows.events(events))
    return incidents


def went_on(incident_id: str, *, minutes: int = 1) -> dict[str, Any]:
    """Return what `reopen_incidents` takes: an abnormal window that begins in so many minutes."""
    start = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    return {"incident_id": incident_id, "window_start": start, "at": start, "count": 40, "z": 9.5}
