"""The recorded series of `tests/data/detection`, and what a detector writes when it is fed them."""

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from flows.detector import Detector
from flows.rows import IncidentEvent, IncidentRow, Outcome, Run, WindowRow
from tocsin.detection import (
    WINDOW_MS,
    DetectionSettings,
    IncidentKind,
    Moment,
    Preset,
    SettingsTimeline,
)

DATA: Final = Path(__file__).parents[1] / "tests" / "data" / "detection"

PLAIN: Final = SettingsTimeline((DetectionSettings(preset=Preset.PLAIN),))
GUARDED: Final = SettingsTimeline((DetectionSettings(preset=Preset.GUARDED),))
TIMELINES: Final = {"plain": PLAIN, "guarded": GUARDED}

EVENTS_END: Final = 181
"""The window that closes all windows of the recorded three hours."""


class Tables:
    """Rows as the database keeps them: the last one written wins.

    incidents, events: of errors; those of silences, which the golden files don't know, are apart.
    events: the steps of the timeline.
    """

    def __init__(self) -> None:
        self.windows: dict[int, WindowRow] = {}
        self.incidents: dict[str, IncidentRow] = {}
        self.events: list[IncidentEvent] = []
        self.silences: dict[str, IncidentRow] = {}
        self.silence_events: list[IncidentEvent] = []

    def write(self, outcome: Outcome) -> None:
        """Upsert what a drain returned."""
        for row in outcome.windows:
            self.windows[row.window_start_ms // WINDOW_MS] = row
        for incident in outcome.incidents:
            about_errors = incident.kind is IncidentKind.ERRORS
            (self.incidents if about_errors else self.silences)[incident.incident_id] = incident
        for event in outcome.events:
            if event.moment is Moment.WENT_ON:
                continue
            is_silence = event.incident_id in self.silences
            (self.silence_events if is_silence else self.events).append(event)

    @property
    def clock(self) -> WindowRow:
        """The row of the clock's window."""
        newest = max(self.windows.values(), key=lambda row: (row.offset, row.clock_start_ms))
        return self.windows[newest.clock_start_ms // WINDOW_MS]

    @property
    def newest_incident(self) -> IncidentRow | None:
        """The row of the incident that opened last."""
        return max(self.incidents.values(), key=lambda row: row.window_start_ms, default=None)

    @property
    def newest_silence(self) -> IncidentRow | None:
        """The row of the silence that began last."""
        return max(self.silences.values(), key=lambda row: row.window_start_ms, default=None)

    def numbers(self, **columns: object) -> list[int]:
        """Numbers of the windows whose columns have these values."""
        return [
            number
            for number, row in sorted(self.windows.items())
            if all(getattr(row, name) == value for name, value in columns.items())
        ]


def replay(
    runs: Iterable[Run],
    end: int,
    timeline: SettingsTimeline,
    *,
    service_id: str = "service",
    drain_every: int = 500,
) -> Tables:
    """Apply runs, then move the clock to a window that closes all; drain now and then."""
    detector, tables = Detector(service_id, timeline), Tables()
    for count, run in enumerate(runs, 1):
        detector.apply(run)
        if count % drain_every == 0:
            tables.write(detector.drain())
    detector.advance_to(end, end * WINDOW_MS)
    tables.write(detector.drain())
    return tables


def replay_week(timeline: SettingsTimeline) -> dict[str, Tables]:
    """Return the closed replay of the synthetic week by service: one run a minute, at its end."""
    return {
        service: replay(closed_runs(minutes), len(minutes) + 1, timeline, service_id=service)
        for service, minutes in synthetic_series().items()
    }


def replay_events(timeline: SettingsTimeline) -> dict[str, Tables]:
    """Return the replay of the three hours by service, each record as it arrived."""
    return {
        service: replay(runs, EVENTS_END, timeline, service_id=service)
        for service, runs in event_runs().items()
    }


def incidents_of(replays: Mapping[str, Tables]) -> list[IncidentRow]:
    """Return the incidents of errors of all services."""
    return [row for tables in replays.values() for row in tables.incidents.values()]


def closed_runs(series: Iterable[tuple[int, int, int]]) -> Iterator[Run]:
    """Yield one run a minute with records, from (window, total, errors), as it ends."""
    for offset, (window, total, errors) in enumerate(series):
        if total:
            end_ms = (window + 1) * WINDOW_MS
            yield Run(window, total, errors, end_ms, end_ms, offset)


def synthetic_series() -> dict[str, list[tuple[int, int, int]]]:
    """Return the week of every synthetic service as (window, total, errors)."""
    services = [service["name"] for service in read_json("synth_s11_labels.json")["services"]]
    series: dict[str, list[tuple[int, int, int]]] = {service: [] for service in services}
    tables = zip(
        read_csv("synth_s11_errors.csv.gz"), read_csv("synth_s11_totals.csv.gz"), strict=True
    )
    for minute, (errors, totals) in enumerate(tables):
        for column, service in enumerate(services, 1):
            series[service].append((minute, int(totals[column] or 0), int(errors[column] or 0)))
    return series


def event_runs() -> dict[str, list[Run]]:
    """Return the rows of the three hours of every service, each as one run."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for offset, row in enumerate(read_csv("events_3h_s11.csv.gz")):
        arrival_ms, event_ms, errors, others = (int(row[column]) for column in (0, 1, 3, 4))
        window = event_ms // WINDOW_MS
        runs[row[2]].append(Run(window, errors + others, errors, arrival_ms, arrival_ms, offset))
    return dict(runs)


def read_json(name: str) -> Any:
    """Return what a JSON file holds, gzipped or not."""
    path = DATA / name
    return json.loads(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    )


def read_csv(name: str) -> Iterator[list[str]]:
    """Yield the rows of a gzipped CSV file after its header."""
    with gzip.open(DATA / name, "rt", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from rows
