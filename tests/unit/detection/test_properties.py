"""What holds for every stream: cutting, snapshots, rebuilding and early verdicts change nothing."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.replay import Tables
from flows.detector import Detector
from flows.known import Place, ServiceState
from flows.rows import IncidentRow, WindowRow
from tests.unit.detection.reference import Reference
from tests.unit.detection.streams import (
    SMALL,
    SMALL_GUARDED,
    SMALL_PLAIN,
    Tally,
    cut,
    records,
    streams,
)
from tocsin.detection import WINDOW_MS, SettingsTimeline, Verdict

LAW = settings(max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
BOTH_PRESETS = pytest.mark.parametrize(
    "timeline", [SMALL_GUARDED, SMALL_PLAIN], ids=["guarded", "plain"]
)


def feed(detector: Detector, stream: list[Tally], tables: Tables, start: int = 0) -> None:
    for offset, tally in enumerate(stream, start):
        detector.apply(tally.run(offset))
        tables.write(detector.drain())


def finish(detector: Detector, stream: list[Tally], tables: Tables) -> Tables:
    """Close all windows."""
    end = max(tally.window for tally in stream) + 2
    detector.advance_to(end, stream[-1].arrival_ms + 1)
    tables.write(detector.drain())
    return tables


def rebuild(tables: Tables, timeline: SettingsTimeline) -> Detector:
    """Rebuild a detector from all that was written, if anything was."""
    if not tables.windows:
        return Detector("service", timeline)
    rows = tables.windows.values()
    newest = (tables.newest_incident, tables.newest_silence)
    return Detector.rebuild(tables.clock, rows, *newest, timeline)


def timeless(row: WindowRow) -> WindowRow:
    """Leave out what depends on when a row was written."""
    return replace(
        row,
        offset=0,
        arrival_ms=0,
        clock_start_ms=0,
        last_start_ms=0,
        gap_windows=0,
        too_late=0,
    )


def unstamped(row: IncidentRow) -> IncidentRow:
    confirmed = None if row.confirmed_at_ms is None else 0
    resolved = None if row.resolved_at_ms is None else 0
    return replace(
        row,
        opened_at_ms=0,
        confirmed_at_ms=confirmed,
        resolved_at_ms=resolved,
        offset=0,
        clock_start_ms=0,
    )


def assert_same_tables(mine: Tables, theirs: Tables) -> None:
    assert [timeless(row) for _, row in sorted(mine.windows.items())] == [
        timeless(row) for _, row in sorted(theirs.windows.items())
    ]
    assert {key: unstamped(row) for key, row in mine.incidents.items()} == {
        key: unstamped(row) for key, row in theirs.incidents.items()
    }


def life_of(rows: list[IncidentRow]) -> list[Any]:
    return [
        (
            row.window_start_ms // WINDOW_MS,
            None if row.confirmed_start_ms is None else row.confirmed_start_ms // WINDOW_MS,
            row.severity == "CRITICAL",
            None if row.resolved_start_ms is None else row.resolved_start_ms // WINDOW_MS,
            row.reason,
            row.absorbed,
            row.low_start_ms // WINDOW_MS,
            row.calm_windows if row.resolved_start_ms is None else 0,
        )
        for row in sorted(rows, key=lambda row: row.window_start_ms)
    ]


@BOTH_PRESETS
@given(stream=streams(), idle_ms=st.sampled_from([0, 150_000, 150_001, 600_000, 3_000_000]))
@LAW
def test_detector_does_what_the_contract_says_record_by_record(
    timeline: SettingsTimeline, stream: list[Tally], idle_ms: int
) -> None:
    detector, tables = Detector("service", timeline), Tables()
    reference = Reference(timeline.versions[0])
    for offset, tally in enumerate(stream):
        detector.apply(tally.run(offset))
        for record in records([tally]):
            reference.record(record[0], record[1], error=record[2])
        tables.write(detector.drain())
    detector.advance(stream[-1].arrival_ms + idle_ms)
    reference.idle(stream[-1].arrival_ms + idle_ms)
    tables.write(detector.drain())
    assert life_of(list(tables.incidents.values())) == [
        (i.window, i.f, i.critical, i.end, i.reason, i.absorbed, i.lo, 0 if i.end else i.calm)
        for i in sorted(reference.incidents, key=lambda i: i.window)
    ]
    clock = tables.clock
    assert clock.closed == (reference.first is None)
    if reference.first is not None:
        assert_same_windows(tables, reference)


def assert_same_windows(tables: Tables, reference: Reference) -> None:
    clock, guarded = tables.clock, reference.guarded
    assert clock.clock_start_ms == reference.clock * WINDOW_MS
    assert (clock.too_late, clock.gap_windows) == (reference.too_late, reference.gap)
    assert clock.last_start_ms == reference.newest * WINDOW_MS
    assert reference.first is not None
    assert set(range(reference.first, reference.clock + 1)) <= set(tables.windows)
    ours = (w for w, row in tables.windows.items() if row.first_start_ms == clock.first_start_ms)
    for w in ours:
        row = tables.windows[w]
        assert (row.errors, row.total) == (reference.errors[w], reference.total[w])
        assert (row.late_errors, row.late_total) == (
            reference.late_errors[w],
            reference.late_total[w],
        )
        if w < reference.first:
            continue
        n, errors, squares, _ = reference.plain[w]
        assert (row.plain_n, row.plain_sum, row.plain_squares) == (n, errors, squares)
        if guarded:
            sums = (row.guarded_n, row.guarded_sum, row.guarded_squares, row.guarded_records)
            assert sums == reference.guard[w]
        if w > reference.clock - SMALL.kept_windows:
            assert (row.flagged, row.unknown) == (w in reference.flagged, w in reference.unknown)


@BOTH_PRESETS
@given(stream=streams(), draw=st.data())
@LAW
def test_cutting_the_stream_into_batches_changes_nothing(
    timeline: SettingsTimeline, stream: list[Tally], draw: st.DataObject
) -> None:
    borders = draw.draw(st.sets(st.integers(0, len(stream) - 1)))
    whole, single = Detector("service", timeline), Detector("service", timeline)
    in_batches, one_by_one = Tables(), Tables()
    for batch in cut(stream, borders, SMALL.idle_ms):
        for run in batch:
            whole.apply(run)
        in_batches.write(whole.drain())
    for offset, (arrival_ms, window, error) in enumerate(records(stream)):
        single.apply(Tally(arrival_ms, window, int(error), int(not error)).run(offset))
        one_by_one.write(single.drain())
    finish(whole, stream, in_batches)
    finish(single, stream, one_by_one)
    assert_same_tables(in_batches, one_by_one)


@BOTH_PRESETS
@given(stream=streams(), drained=st.booleans())
@LAW
def test_a_snapshot_at_any_point_changes_nothing(
    timeline: SettingsTimeline, stream: list[Tally], drained: bool
) -> None:
    kept, restored = Detector("service", timeline), Detector("service", timeline)
    mine, theirs = Tables(), Tables()
    states: list[tuple[ServiceState, bytes]] = []
    for offset, tally in enumerate(stream):
        kept.apply(tally.run(offset))
        restored.apply(tally.run(offset))
        if drained or offset % 3 == 0:
            mine.write(kept.drain())
            theirs.write(restored.drain())
        state = ServiceState(Place(1, 2, offset), restored.snapshot())
        states.append((state, state.packed()))
        assert ServiceState.unpacked(state.packed()) == state
        restored = Detector.restore(state.detector, timeline)
    finish(kept, stream, mine)
    finish(restored, stream, theirs)
    assert all(state.packed() == packed for state, packed in states)
    assert mine.windows == theirs.windows
    assert mine.incidents == theirs.incidents
    assert mine.events == theirs.events
    assert mine.silences == theirs.silences
    assert mine.silence_events == theirs.silence_events


@BOTH_PRESETS
@given(stream=streams(), draw=st.data())
@LAW
def test_a_detector_rebuilt_from_its_rows_goes_on_the_same(
    timeline: SettingsTimeline, stream: list[Tally], draw: st.DataObject
) -> None:
    split = draw.draw(st.integers(0, len(stream)))
    kept, mine, theirs = Detector("service", timeline), Tables(), Tables()
    feed(kept, stream[:split], mine)
    if draw.draw(st.booleans()) and split:
        kept.advance(stream[split - 1].arrival_ms + draw.draw(st.integers(0, 600_000)))
        mine.write(kept.drain())
    rebuilt = rebuild(mine, timeline)
    assert rebuilt.offset == kept.offset
    theirs.windows, theirs.incidents = dict(mine.windows), dict(mine.incidents)
    theirs.silences = dict(mine.silences)
    mine.events.clear()
    mine.silence_events.clear()
    feed(kept, stream[split:], mine, split)
    feed(rebuilt, stream[split:], theirs, split)
    finish(kept, stream, mine)
    finish(rebuilt, stream, theirs)
    assert mine.windows == theirs.windows
    assert mine.incidents == theirs.incidents
    assert mine.events == theirs.events
    assert mine.silences == theirs.silences
    assert mine.silence_events == theirs.silence_events


@BOTH_PRESETS
@given(stream=streams(late=False, gaps=False))
@LAW
def test_early_and_closed_judging_give_the_same_incidents_but_for_the_opening(
    timeline: SettingsTimeline, stream: list[Tally]
) -> None:
    early = Detector("service", timeline)
    tables = Tables()
    feed(early, stream, tables)
    finish(early, stream, tables)
    first = tables.clock.first_start_ms // WINDOW_MS
    if any(row.late_total or number < first for number, row in tables.windows.items()):
        return
    closed, once = Detector("service", timeline), Tables()
    for number, row in sorted(tables.windows.items()):
        if row.total:
            arrival_ms = (number + 1) * WINDOW_MS
            closed.apply(Tally(arrival_ms, number, row.errors, row.total - row.errors).run(number))
        else:
            closed.advance_to(number, (number + 1) * WINDOW_MS)
    once.write(closed.drain())
    finish(closed, stream, once)
    opened = [incident[1:6] for incident in life_of(list(tables.incidents.values()))]
    assert opened == [incident[1:6] for incident in life_of(list(once.incidents.values()))]
    early_peaks = sorted(row.peak_z for row in tables.incidents.values())
    assert early_peaks == sorted(row.peak_z for row in once.incidents.values())


RANKS = {Verdict.SIGNAL: 1, Verdict.BREACH: 2, Verdict.FIRE: 3}


@BOTH_PRESETS
@given(stream=streams())
@LAW
def test_no_early_verdict_is_contradicted_by_the_closed_window(
    timeline: SettingsTimeline, stream: list[Tally]
) -> None:
    detector = Detector("service", timeline)
    best: dict[tuple[int, int], int] = {}
    for offset, tally in enumerate(stream):
        detector.apply(tally.run(offset))
        for row in detector.drain().windows:
            key = (row.first_start_ms, row.window_start_ms)
            rank = RANKS.get(row.verdict, 0)
            assert rank >= best.get(key, 0)
            best[key] = rank


@given(stream=streams())
@LAW
def test_baselines_of_a_window_never_change_once_it_is_open(stream: list[Tally]) -> None:
    detector = Detector("service", SMALL_GUARDED)
    fixed: dict[tuple[int, int], tuple[int | None, ...]] = {}
    for offset, tally in enumerate(stream):
        detector.apply(tally.run(offset))
        for row in detector.drain().windows:
            sums = (
                row.plain_n,
                row.plain_sum,
                row.plain_squares,
                row.guarded_n,
                row.guarded_sum,
                row.guarded_squares,
                row.guarded_records,
            )
            assert fixed.setdefault((row.first_start_ms, row.window_start_ms), sums) == sums


@BOTH_PRESETS
@given(stream=streams())
@LAW
def test_an_incident_opens_after_the_resolved_window_of_the_one_before(
    timeline: SettingsTimeline, stream: list[Tally]
) -> None:
    detector, tables = Detector("service", timeline), Tables()
    feed(detector, stream, tables)
    resolved = None
    for row in sorted(tables.incidents.values(), key=lambda row: row.offset):
        assert resolved is None or row.window_start_ms > resolved
        resolved = row.resolved_start_ms
