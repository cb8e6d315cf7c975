"""Each stored value of a decision, changed alone, is found out, but for what cannot be known."""

import enum
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import fields, replace

from bench.replay import GUARDED, PLAIN
from flows.explain import explain
from flows.rows import IncidentRow, WindowRow
from flows.titles import title
from tests.unit.detection.service import Service
from tests.unit.detection.test_silence import after
from tocsin.detection import WINDOW_MS, IncidentKind, Preset, SettingsTimeline, Verdict

DAY_MS = 86_400_000


class Stored(NamedTuple):
    """An incident and all rows of its service, as the database holds them."""

    incident: IncidentRow
    windows: list[WindowRow]
    timeline: SettingsTimeline = GUARDED

    @property
    def judged_ms(self) -> int:
        incident = self.incident
        is_silence = incident.kind is IncidentKind.SILENCE
        return (is_silence and incident.confirmed_start_ms) or incident.window_start_ms

    @property
    def ledger(self) -> list[WindowRow]:
        """The rows that are read to explain it, as `sql/queries/ledger.sql` picks them."""
        judged_ms, incident = self.judged_ms, self.incident
        firsts = [row.first_start_ms for row in self.windows if row.window_start_ms == judged_ms]
        first_ms = min(judged_ms, *(firsts or [judged_ms - DAY_MS]))
        last_ms = max(incident.resolved_start_ms or incident.clock_start_ms, judged_ms)
        return [row for row in self.windows if first_ms <= row.window_start_ms <= last_ms]

    @property
    def agrees(self) -> bool:
        return explain(self.incident, self.ledger, self.timeline, title=self.title).agrees

    @property
    def title(self) -> str:
        return title(self.incident)


def stored(service: Service, timeline: SettingsTimeline = GUARDED) -> Stored:
    """Return the newest incident of a service, of errors if it has one."""
    tables = service.tables
    incident = tables.newest_incident or tables.newest_silence
    assert incident is not None
    return Stored(incident, list(tables.windows.values()), timeline)


def weak() -> Stored:
    return stored(Service().minutes([1, 2] * 12 + [9] + [1, 2] * 5))


def confirmed(timeline: SettingsTimeline = GUARDED) -> Stored:
    return stored(Service(timeline).minutes([1, 2] * 12 + [60, 45, 50] + [1, 2] * 4), timeline)


def by_a_breach() -> Stored:
    outage = [1, 2] * 12 + [60, 45, 50] + [1, 2] * 5
    return stored(Service().minutes([*outage, 20] + [1, 2] * 4))


def still_open() -> Stored:
    return stored(Service().minutes([1, 2] * 12 + [60, 45, 1, 2]))


def followed_by_late_records() -> Stored:
    service = Service().minutes([1, 2] * 12 + [60, 45, 50, 1])
    service.run(20, 3, 2, arrival_ms=29 * WINDOW_MS)
    service.run(25, 30, 1, arrival_ms=29 * WINDOW_MS)
    return stored(service.minutes([1, 2] * 5, start=28))


def opened_late() -> Stored:
    service = Service().minutes([1, 2] * 12)
    service.run(20, 30, 0, arrival_ms=25 * WINDOW_MS)
    return stored(service.minutes([1, 2] * 5, start=24))


def gone_quiet() -> Stored:
    service = Service()
    for window in range(20):
        service.run(window, 60 if window == 17 else 1 + window % 2)
    service.advance_to(40)
    return stored(service)


def spoke_again() -> Stored:
    service = after(8)
    service.run(30, 0, 1)
    return stored(service)


CASES: dict[str, Callable[[], Stored]] = {
    "weak": weak,
    "confirmed": confirmed,
    "plain": lambda: confirmed(PLAIN),
    "by a breach": by_a_breach,
    "still open": still_open,
    "followed by late records": followed_by_late_records,
    "opened late": opened_late,
    "gone quiet": gone_quiet,
    "silence": lambda: stored(after(8)),
    "silence that is over": spoke_again,
}


STAMPS = "when records arrived and what the service was like then is not in the ledger"
UNLEARNED = "no guarded baseline among these rows learns from the window"
NOT_REPLAYED = "it is after the window that made the silence known, and later ones are not read"

UNKNOWABLE_OF_A_WINDOW = {
    "offset": STAMPS,
    "arrival_ms": STAMPS,
    "clock_start_ms": STAMPS,
    "last_start_ms": STAMPS,
    "too_late": STAMPS,
    "late_total": "late records that are no errors decide nothing",
}
"""Columns of a window that can be another number, one that leaves the row possible."""

UNKNOWABLE_OF_AN_INCIDENT = {
    "offset": STAMPS,
    "clock_start_ms": STAMPS,
    "opened_at_ms": STAMPS,
    "confirmed_at_ms": STAMPS,
    "resolved_at_ms": STAMPS + "; and people resolve, too",
}


def reason_of_a_window(column: str, row: WindowRow, case: Stored) -> str | None:
    """Say why it cannot be known that this column of this row is another one; None if it can."""
    if column in UNKNOWABLE_OF_A_WINDOW:
        return UNKNOWABLE_OF_A_WINDOW[column]
    preset = case.timeline.at(row.window_start_ms // WINDOW_MS).preset
    newest_ms = case.ledger[-1].window_start_ms
    if column == "total":
        # It is only in the sums of baselines that learn from it; a confirmed incident's learn none,
        # and none learns from what was part of another one.
        is_errors = case.incident.kind is IncidentKind.ERRORS
        frozen_ms = (is_errors and case.incident.confirmed_start_ms) or math.inf
        is_learned = row.window_start_ms < min(newest_ms - WINDOW_MS, frozen_ms)
        is_learned = is_learned and not row.flagged and preset is Preset.GUARDED
        return None if is_learned else UNLEARNED
    if column == "gap_windows" and row.clock_start_ms - 2 * WINDOW_MS > newest_ms:
        return STAMPS
    is_past = case.incident.kind is IncidentKind.SILENCE and row.window_start_ms > case.judged_ms
    if is_past and column in {"guarded_squares", "guarded_records", "flagged"}:
        return NOT_REPLAYED
    return None


def reason_of_an_incident(column: str, case: Stored) -> str | None:
    """Say why it cannot be known that this column of the incident is another one."""
    incident = case.incident
    if column == "resolved_start_ms" and incident.detected_late:
        return "only late records carried it: it began to calm down when they arrived"
    if column == "reason" and incident.kind is IncidentKind.SILENCE:
        return "the ledger ends with the silence: whether a late record or the end of it is not in"
    return UNKNOWABLE_OF_AN_INCIDENT.get(column)


def others(of: type[Struct], column: str, value: Any) -> Iterator[Any]:
    """Yield other values that the column takes, the nearest ones."""
    kinds = get_type_hints(of)[column]
    options = [kind for kind in get_args(kinds) or (kinds,) if kind is not type(None)]
    if value is not None and type(None) in get_args(kinds):
        yield None
    if isinstance(value, bool):
        yield not value
    elif issubclass(options[0], enum.Enum):
        yield from (other for other in options[0] if other is not value)
    elif isinstance(value, float):
        yield from (math.nextafter(value, math.inf), math.nextafter(value, -math.inf))
    elif isinstance(value, str):
        yield value + "0"
    else:
        step = WINDOW_MS if column.endswith("_ms") else 1
        yield from (step,) if value is None else (value + step, value - step)


@pytest.mark.parametrize("name", CASES)
def test_what_was_not_tampered_with_agrees(name: str) -> None:
    assert CASES[name]().agrees


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("column", [field.name for field in fields(WindowRow)[2:]])
def test_another_value_of_any_window_is_found_out(column: str, name: str) -> None:
    """The first two columns are the key."""
    case = CASES[name]()
    for row in case.ledger:
        if reason_of_a_window(column, row, case) is not None:
            continue
        place = case.windows.index(row)
        for other in others(WindowRow, column, getattr(row, column)):
            windows = [*case.windows]
            windows[place] = replace(row, **{column: other})
            assert not case._replace(windows=windows).agrees, (row, other)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("column", [field.name for field in fields(IncidentRow)])
def test_another_value_of_any_incident_is_found_out(column: str, name: str) -> None:
    case = CASES[name]()
    if reason_of_an_incident(column, case) is not None:
        return
    for other in others(IncidentRow, column, getattr(case.incident, column)):
        incident = replace(case.incident, **{column: other})
        explanation = explain(incident, case.ledger, case.timeline, title=case.title)
        assert not explanation.agrees, other


@pytest.mark.parametrize("name", CASES)
def test_another_title_is_found_out(name: str) -> None:
    case = CASES[name]()
    told = explain(case.incident, case.ledger, case.timeline, title=case.title + "!")
    assert told.disagreements == [f"title: stored {case.title}!, recomputed {case.title}"]


def test_unknown_does_not_hide_another_verdict() -> None:
    case = confirmed()
    place = next(n for n, row in enumerate(case.windows) if row.window_start_ms == case.judged_ms)
    case.windows[place] = replace(case.windows[place], unknown=True, verdict=Verdict.UNKNOWN)
    told = explain(case.incident, case.ledger, case.timeline).disagreements
    assert any("unknown" in line for line in told)


@pytest.mark.parametrize("first", [-30, 5, 39, 40, 41, 60])
def test_another_first_window_does_not_shorten_what_is_recomputed(first: int) -> None:
    """It says from where on rows are read, so that a later one hides those before it."""
    case = stored(Service().minutes([1, 2] * 20 + [60] + [1, 2] * 4))
    place = next(n for n, row in enumerate(case.windows) if row.window_start_ms == case.judged_ms)
    case.windows[place] = replace(case.windows[place], first_start_ms=first * WINDOW_MS)
    told = explain(case.incident, case.ledger, case.timeline).disagreements
    assert any("first window" in line for line in told)
