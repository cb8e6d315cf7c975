"""Feeds detectors with recorded series and keeps what they write, as the tables would."""

import csv
import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flows.detector import Detector
from flows.rows import IncidentEvent, IncidentRow, Outcome, Run, WindowRow
from tocsin.detection import WINDOW_MS, DetectionSettings, IncidentKind, Preset, SettingsTimeline

DATA = Path(__file__).parents[2] / "data" / "detection"

PLAIN = SettingsTimeline((DetectionSettings(preset=Preset.PLAIN),))
GUARDED = SettingsTimeline((DetectionSettings(preset=Preset.GUARDED),))
TIMELINES = {"plain": PLAIN, "guarded": GUARDED}


class Tables:
    """Rows as the database keeps them: the last one written wins.

    incidents, events: of errors; those of silences, which the golden files don't know, are apart.
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


class Golden(NamedTuple):
    """An incident in the terms of the golden files; windows by number."""

    window: int
    confirmed_window: int | None
    severity: str
    peak_z: float
    resolved_window: int | None
    reason: str | None

    @classmethod
    def of(cls, row: IncidentRow) -> "Golden":
        """Translate a row."""
        return cls(
            row.window_start_ms // WINDOW_MS,
            number_of(row.confirmed_start_ms),
            row.severity.value,
            round(row.peak_z, 4),
            number_of(row.resolved_start_ms),
            row.reason and row.reason.value,
        )

    @classmethod
    def expected(cls, fields: dict[str, Any]) -> "Golden":
        """Take the fields of a golden file that are compared."""
        return cls(**{name: fields[name] for name in cls._fields})

    def same_as(self, other: "Golden") -> bool:
        """Exactly the same but for z, which the files round."""
        alike = self._replace(peak_z=0.0) == other._replace(peak_z=0.0)
        return alike and abs(self.peak_z - other.peak_z) <= 1e-3


def number_of(start_ms: int | None) -> int | None:
    return None if start_ms is None else start_ms // WINDOW_MS


def assert_same_incidents(got: Iterable[Golden], expected: Iterable[Golden]) -> None:
    got, expected = sorted(got), sorted(expected)
    assert len(got) == len(expected), (got, expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.same_as(theirs), (mine, theirs)


def closed_runs(series: Iterable[tuple[int, int, int]]) -> Iterator[Run]:
    """Yield one run a minute with records, from (window, total, errors), as it ends."""
    for offset, (window, total, errors) in enumerate(series):
        if total:
            end_ms = (window + 1) * WINDOW_MS
            yield Run(window, total, errors, end_ms, end_ms, offset)


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


def read_json(name: str) -> Any:
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
