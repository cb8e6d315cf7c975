"""The detector's rows as the database takes them: times as datetimes, incidents with a title."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from flows.known import Place
from flows.rows import IncidentEvent, IncidentRow, WindowRow
from flows.titles import title
from tocsin.detection import IncidentStatus, Moment
from tocsin.records import EPOCH


def windows(rows: Iterable[tuple[Place, WindowRow]]) -> list[dict[str, Any]]:
    """Return the parameters of `upsert_windows` for (place of its service, row)."""
    return [
        {
            "service_id": row.service_id,
            "window_start": _time(row.window_start_ms),
            "errors": row.errors,
            "total": row.total,
            "late_errors": row.late_errors,
            "late_total": row.late_total,
            "verdict": row.verdict.value,
            "severity": row.severity and row.severity.value,
            "z": row.z,
            "guarded_z": row.guarded_z,
            **_baselines(row),
            "closed": row.closed,
            "flagged": row.flagged,
            "unknown": row.unknown,
            "settings_version": row.settings_version,
            "incarnation": place.incarnation,
            "partition": place.partition,
            "read_offset": place.offset,
            "offset": row.offset,
            "arrival": _time(row.arrival_ms),
            "clock_start": _time(row.clock_start_ms),
            "service_first": _time(row.first_start_ms),
            "service_last": _time(row.last_start_ms),
            "gap_windows": row.gap_windows,
            "too_late": row.too_late,
        }
        for place, row in rows
    ]


def incidents(rows: Iterable[tuple[int, IncidentRow]]) -> list[dict[str, Any]]:
    """Return the parameters of `upsert_incident` for (incarnation, row)."""
    return [
        {
            "id": row.incident_id,
            "service_id": row.service_id,
            "kind": row.kind.value,
            "title": title(row),
            "status": "RESOLVED" if row.status is IncidentStatus.RESOLVED else "OPEN",
            "severity": row.severity.value,
            "window_start": _time(row.window_start_ms),
            "first_window": _time(row.low_start_ms),
            "confirmed_window": _time_or_none(row.confirmed_start_ms),
            "resolved_window": _time_or_none(row.resolved_start_ms),
            "resolve_reason": row.reason and row.reason.value,
            "observed": row.count,
            "z": row.z,
            "guarded_z": row.guarded_z,
            "peak_z": row.peak_z,
            **_baselines(row),
            "settings_version": row.settings_version,
            "decided_by": row.decided_by.value,
            "opened_at": _time(row.opened_at_ms),
            "confirmed_at": _time_or_none(row.confirmed_at_ms),
            "resolved_at": _time_or_none(row.resolved_at_ms),
            "detected_late": row.detected_late,
            "calm_windows": row.calm_windows,
            "absorbed": row.absorbed,
            "hot_window": _time(row.hot_start_ms),
            "incarnation": incarnation,
            "offset": row.offset,
            "clock_start": _time(row.clock_start_ms),
        }
        for incarnation, row in rows
    ]


def renewals(rows: Iterable[IncidentEvent]) -> list[dict[str, Any]]:
    """Return the parameters of `reopen_incident` for what goes on."""
    return [
        {
            "incident_id": row.incident_id,
            "at": _time(row.at_ms),
            "window_start": _time(row.window_start_ms),
            "count": row.count,
            "z": row.z,
        }
        for row in rows
        if row.moment is Moment.WENT_ON
    ]


def events(rows: Iterable[IncidentEvent]) -> list[dict[str, Any]]:
    """Return the parameters of `insert_incident_event` for the steps of the timeline."""
    return [
        {
            "incident_id": row.incident_id,
            "moment": row.moment.value,
            "at": _time(row.at_ms),
            "window_start": _time(row.window_start_ms),
            "severity": row.severity.value,
            "status": "RESOLVED" if row.moment is Moment.RESOLVED else "OPEN",
            "count": row.count,
            "z": row.z,
        }
        for row in rows
        if row.moment is not Moment.WENT_ON
    ]


def _baselines(row: WindowRow | IncidentRow) -> dict[str, int | None]:
    return {
        "baseline_windows": row.plain_n,
        "baseline_errors": row.plain_sum,
        "baseline_squares": row.plain_squares,
        "guarded_windows": row.guarded_n,
        "guarded_errors": row.guarded_sum,
        "guarded_squares": row.guarded_squares,
        "guarded_records": row.guarded_records,
    }


def _time(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def _time_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else _time(ms)
