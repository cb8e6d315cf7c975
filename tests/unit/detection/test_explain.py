"""What is stored can be recomputed from the ledger, and what was tampered with cannot."""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.replay import GUARDED, TIMELINES, Tables, closed_runs, replay, synthetic_series
from flows.detector import Detector
from flows.explain import Explanation, Reach, explain
from flows.rows import IncidentRow
from tests.unit.detection.conftest import Replays
from tests.unit.detection.service import Service
from tests.unit.detection.streams import SMALL_GUARDED, SMALL_PLAIN, Tally, streams
from tests.unit.detection.test_silence import after
from tocsin.detection import WINDOW_MS, IncidentKind, SettingsTimeline

QUARTER_WINDOWS = 360
PRESETS = pytest.mark.parametrize("preset", ["plain", "guarded"])
BURST = 40
"""The window in which `burst` begins."""


def incidents(tables: Tables) -> list[IncidentRow]:
    return [*tables.incidents.values(), *tables.silences.values()]


def explained(tables: Tables, timeline: SettingsTimeline = GUARDED) -> list[Explanation]:
    return [explain(row, tables.windows.values(), timeline) for row in incidents(tables)]


def only(tables: Tables, timeline: SettingsTimeline = GUARDED) -> Explanation:
    [explanation] = explained(tables, timeline)
    return explanation


def assert_agrees(explanation: Explanation) -> None:
    assert explanation.agrees, "\n".join(explanation.lines)


def assert_windows_make_the_sums(explanation: Explanation) -> None:
    """The windows that are told are those of the baseline, wherever they are told."""
    for numbers in (explanation.plain, explanation.guarded):
        if numbers is not None and numbers.windows:
            counts = [window.errors for window in numbers.windows]
            squares = sum(count * count for count in counts)
            assert (len(counts), sum(counts), squares) == (numbers.n, numbers.sum, numbers.squares)


def burst(timeline: SettingsTimeline = GUARDED) -> Service:
    """A service that is normal for 40 minutes and then has three bad ones."""
    return Service(timeline).minutes([1, 2] * 20 + [60, 45, 50] + [1, 2] * 5)


@PRESETS
def test_every_incident_of_the_week_is_recomputed_to_the_last_bit(preset: str) -> None:
    """Each quarter of a day is fed to a detector of its own, so that there is less to replay."""
    timeline = TIMELINES[preset]
    count = 0
    for service, minutes in synthetic_series().items():
        for begin in range(0, len(minutes), QUARTER_WINDOWS):
            own = minutes[begin : begin + QUARTER_WINDOWS]
            tables = replay(closed_runs(own), own[-1][0] + 2, timeline, service_id=service)
            for explanation in explained(tables, timeline):
                assert_agrees(explanation)
                assert_windows_make_the_sums(explanation)
                assert explanation.reach is Reach.FULL
                count += 1
    assert count > 1200


@PRESETS
def test_last_incidents_of_the_week_are_recomputed_from_its_beginning(
    week: Replays, preset: str
) -> None:
    for tables in list(week[preset].values())[::3]:
        if tables.newest_incident is not None:
            rows = tables.windows.values()
            assert_agrees(explain(tables.newest_incident, rows, TIMELINES[preset]))


@PRESETS
def test_incidents_of_records_out_of_order_and_late_are_recomputed(
    three_hours: Replays, preset: str
) -> None:
    for tables in three_hours[preset].values():
        for explanation in explained(tables, TIMELINES[preset]):
            assert_agrees(explanation)


def moments(
    stream: list[Tally], timeline: SettingsTimeline
) -> Iterator[tuple[Tables, list[IncidentRow]]]:
    """Yield the tables after each record and what it changed; at last, when all is closed, all."""
    detector, tables = Detector("service", timeline), Tables()
    for offset, tally in enumerate(stream):
        detector.apply(tally.run(offset))
        outcome = detector.drain()
        tables.write(outcome)
        yield tables, outcome.incidents
    detector.advance_to(stream[-1].arrival_ms // WINDOW_MS + 60, stream[-1].arrival_ms)
    tables.write(detector.drain())
    yield tables, incidents(tables)


def is_of_this_life(row: IncidentRow, tables: Tables) -> bool:
    """Tell whether the service has been known since: a next life may write over the rows."""
    first_ms = tables.clock.first_start_ms
    window = tables.windows[row.window_start_ms // WINDOW_MS]
    return window.first_start_ms == first_ms and row.opened_at_ms >= first_ms


@pytest.mark.parametrize("timeline", [SMALL_GUARDED, SMALL_PLAIN], ids=["guarded", "plain"])
@given(stream=streams())
@settings(max_examples=100)
def test_every_incident_of_any_stream_is_recomputed_at_any_moment(
    timeline: SettingsTimeline, stream: list[Tally]
) -> None:
    for tables, rows in moments(stream, timeline):
        for row in rows:
            if is_of_this_life(row, tables):
                explanation = explain(row, tables.windows.values(), timeline)
                assert_agrees(explanation)
                assert_windows_make_the_sums(explanation)


DECIDING = [
    "window_start_ms",
    "low_start_ms",
    "hot_start_ms",
    "confirmed_start_ms",
    "resolved_start_ms",
    "peak_z",
    "calm_windows",
    "count",
    "z",
    "guarded_z",
    "plain_n",
    "plain_sum",
    "plain_squares",
    "guarded_n",
    "guarded_sum",
    "guarded_squares",
    "guarded_records",
    "settings_version",
]
"""Every number of an incident's row but for its stamps: arrivals, offset, the clock's window."""

JUDGED = [
    "errors",
    "plain_n",
    "plain_sum",
    "plain_squares",
    "guarded_n",
    "guarded_sum",
    "guarded_squares",
    "guarded_records",
    "z",
    "guarded_z",
    "settings_version",
]


def tampered(number: Any, step: int) -> Any:
    """Return another number, of a float the next one."""
    if isinstance(number, float):
        return math.nextafter(number, math.inf if step > 0 else -math.inf)
    return number + step


STEPS = st.integers(-1_000, 1_000).filter(bool)


@pytest.mark.parametrize("column", DECIDING)
@given(step=STEPS)
@settings(max_examples=15)
def test_number_of_an_incident_that_was_tampered_with_is_found_out(column: str, step: int) -> None:
    tables = burst().tables
    [row] = tables.incidents.values()
    step *= WINDOW_MS if column.endswith("_ms") else 1
    false = replace(row, **{column: tampered(getattr(row, column), step)})
    explanation = explain(false, tables.windows.values(), GUARDED)
    assert not explanation.agrees
    assert explanation.disagreements


@pytest.mark.parametrize("column", JUDGED)
@given(window=st.integers(0, BURST), step=STEPS)
@settings(max_examples=15)
def test_number_of_a_window_that_was_tampered_with_is_found_out(
    column: str, window: int, step: int
) -> None:
    tables = burst().tables
    row = tables.windows[window]
    assume(getattr(row, column) is not None)
    # The very first windows have no baseline; their errors are in those of later ones.
    tables.windows[window] = replace(row, **{column: tampered(getattr(row, column), step)})
    assert not only(tables).agrees


@pytest.mark.parametrize("column", [name for name in DECIDING if name not in {"z", "guarded_z"}])
@given(step=STEPS)
@settings(max_examples=10)
def test_number_of_a_silence_that_was_tampered_with_is_found_out(column: str, step: int) -> None:
    tables = after(8).tables
    [row] = tables.silences.values()
    step *= WINDOW_MS if column.endswith("_ms") else 1
    before = getattr(row, column)
    false = replace(row, **{column: step if before is None else tampered(before, step)})
    assert not explain(false, tables.windows.values(), GUARDED).agrees


def test_window_without_a_row_is_found_out() -> None:
    tables = burst().tables
    del tables.windows[7]
    assert only(tables).disagreements == ["window 1970-01-01 00:07: there is no row of it"]


def test_counts_that_cannot_be_are_found_out() -> None:
    tables = burst().tables
    tables.windows[7] = replace(tables.windows[7], errors=2**40)
    assert "no records can be counted like that" in only(tables).disagreements[0]


def test_incident_that_another_version_ought_to_have_judged_is_found_out() -> None:
    tables = burst().tables
    later = replace(GUARDED.versions[0], version=2, effective_from_ms=BURST * WINDOW_MS)
    timeline = SettingsTimeline((*GUARDED.versions, later))
    assert "settings version: stored 1, recomputed 2" in only(tables, timeline).disagreements


def test_each_window_is_recomputed_by_the_version_that_judged_it() -> None:
    later = replace(
        GUARDED.versions[0],
        version=2,
        effective_from_ms=20 * WINDOW_MS,
        baseline_windows=10,
        threshold_sigma=Decimal(4),
    )
    timeline = SettingsTimeline((*GUARDED.versions, later))
    explanation = only(burst(timeline).tables, timeline)
    assert_agrees(explanation)
    assert (explanation.settings_version, explanation.plain and explanation.plain.n) == (2, 10)


def test_without_the_first_windows_the_guarded_baseline_is_taken_as_stored() -> None:
    tables = burst().tables
    kept = [row for number, row in tables.windows.items() if number >= 9]
    [row] = tables.incidents.values()
    explanation = explain(row, kept, GUARDED)
    assert_agrees(explanation)
    assert explanation.reach is Reach.PLAIN
    assert explanation.plain is not None
    assert len(explanation.plain.windows) == 30
    assert (
        "  the plain baseline is recomputed, the guarded one taken as stored" in explanation.lines
    )
    false = [replace(old, errors=old.errors + 1) if old.errors == 2 else old for old in kept]
    assert not explain(row, false, GUARDED).agrees


@pytest.mark.parametrize("oldest", [10, 41, 99])
def test_without_the_plain_baseline_both_are_taken_as_stored(oldest: int) -> None:
    tables = burst().tables
    kept = [row for number, row in tables.windows.items() if number >= oldest]
    [row] = tables.incidents.values()
    explanation = explain(row, kept, GUARDED)
    assert_agrees(explanation)
    assert explanation.reach is Reach.SUMS
    assert not explain(replace(row, plain_sum=row.plain_sum + 1), kept, GUARDED).agrees


def test_rows_that_a_next_life_wrote_over_are_not_held_against_an_incident() -> None:
    service = burst()
    service.advance_to(BURST + 13 + 1440)
    [row] = service.tables.incidents.values()
    for window in range(BURST - 2, BURST + 3):
        service.run(window, 0, arrival_ms=(BURST + 2000) * WINDOW_MS)
    explanation = explain(row, service.tables.windows.values(), GUARDED)
    assert_agrees(explanation)
    assert explanation.reach is Reach.SUMS


def test_incident_opened_by_late_records_is_recomputed() -> None:
    service = Service().minutes([1, 2] * 20)
    service.run(35, 30, 0, arrival_ms=41 * WINDOW_MS)
    explanation = only(service.tables)
    assert_agrees(explanation)
    assert "  2 of them on time, the others late" in explanation.lines
    assert explanation.plain is not None
    assert explanation.plain.errors == 32


def test_window_that_waits_is_not_held_against_an_incident_of_late_records() -> None:
    service = Service().minutes([1, 2] * 20)
    service.run(30, 30, 0)
    service.minutes([1, 2, 1, 60], start=40)
    explanation = only(service.tables)
    assert_agrees(explanation)
    assert "Not confirmed: no breach with z' > 7, and no 3 breaches in a row" in explanation.lines
    service.minutes([60, 60], start=44)
    assert len(explained(service.tables)) == 2
    for later in explained(service.tables):
        assert_agrees(later)


def test_incident_right_after_another_is_explained_by_the_frozen_baseline() -> None:
    service = Service().minutes([1, 2] * 20 + [60] + [1] * 5 + [60] + [1] * 8)
    first, second = explained(service.tables)
    assert_agrees(first)
    assert_agrees(second)
    told = "Guarded baseline: still that of 1970-01-01 00:40, which confirmed the incident before"
    assert told in second.lines
    assert first.guarded is not None
    assert second.guarded is not None
    assert second.guarded.sum == first.guarded.sum
    assert not second.guarded.windows


def test_service_that_late_records_kept_known_is_replayed_from_its_first_window() -> None:
    service = Service().minutes([1, 2] * 20)
    service.advance_to(1000)
    service.run(900, 0, 1)
    service.minutes([1, 2] * 10 + [60] + [1] * 8, start=1500)
    [explanation] = [one for one in explained(service.tables) if one.kind is IncidentKind.ERRORS]
    assert_agrees(explanation)
    assert explanation.reach is Reach.FULL
