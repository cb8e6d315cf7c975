"""Candidates that share detectors, fed merged runs, say what each alone says record by record."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from flows.detector import Detector
from flows.merging import Merging
from flows.panel import Panel
from flows.plans import plans_of
from flows.rows import IncidentRow, Run
from flows.snapshot import DetectorSnapshot
from tests.unit.detection.streams import SMALL, Tally, cut, streams
from tocsin.detection import WINDOW_MS, DetectionSettings, Preset, SettingsTimeline

Rows = dict[str, dict[str, Any]]
NEVER = Decimal(900)
CHANGE = WINDOW_MS * 45
"""Where a second version begins, in the midst of most streams."""


def candidate(**changes: Any) -> SettingsTimeline:
    return SettingsTimeline((structs.replace(SMALL, **changes),))


def candidates() -> st.SearchStrategy[list[SettingsTimeline]]:
    sigma = st.sampled_from([Decimal("1.5"), Decimal(2), Decimal(3)])
    one = st.fixed_dictionaries(
        {
            "threshold_sigma": sigma,
            "minimum_count": st.sampled_from([0, 1, 2, 5]),
            "confirm_sigma": st.sampled_from([Decimal("3.5"), NEVER]),
            "confirm_run_windows": st.sampled_from([1, 2, 3]),
            "calm_windows": st.sampled_from([1, 2, 3]),
            "preset": st.sampled_from(list(Preset)),
            "baseline_windows": st.sampled_from([3, 4]),
            "silence": st.booleans(),
        }
    ).map(lambda changes: structs.replace(SMALL, **changes))
    return st.lists(
        st.tuples(one, one).map(
            lambda pair: SettingsTimeline(
                (pair[0], structs.replace(pair[1], version=2, effective_from_ms=CHANGE))
            )
        ),
        min_size=1,
        max_size=6,
    )


def told(rows: Iterable[IncidentRow]) -> Rows:
    """Rows by id, but for what depends on when they were drained."""
    return {
        row.incident_id: {
            name: value
            for name, value in structs.asdict(row).items()
            if name not in {"offset", "clock_start_ms"}
        }
        for row in rows
    }


def feed(detector: Detector, tally: Tally) -> None:
    for number in range(tally.errors + tally.others):
        error, at_ms = number < tally.errors, tally.arrival_ms
        detector.apply(Run(tally.window, 1, int(error), at_ms, at_ms, (detector.offset or 0) + 1))


def alone(
    timeline: SettingsTimeline,
    stream: Sequence[Tally],
    end_ms: int,
    start: DetectorSnapshot | None = None,
) -> Rows:
    """What a detector says when every record is judged alone."""
    detector = Detector.restore(start, timeline) if start else Detector("service", timeline)
    rows = []
    for tally in stream:
        feed(detector, tally)
        rows += detector.drain().incidents
    detector.advance(end_ms)
    rows += detector.drain().incidents
    return told(rows)


def together(
    timelines: Sequence[SettingsTimeline],
    stream: list[Tally],
    borders: set[int],
    end_ms: int,
    start: DetectorSnapshot | None = None,
) -> list[Rows]:
    """What a panel says of all candidates, of runs cut anywhere and merged again."""
    idle_ms = timelines[0].versions[0].idle_ms
    panel = Panel("service", timelines, plans_of(timelines), start)
    merging = Merging(idle_ms)
    errors = [tally.arrival_ms for tally in stream for _ in range(tally.errors)]
    for batch in cut(stream, borders, idle_ms):
        count = sum(run.errors for run in batch)
        for timed in merging.take("service", batch, errors[:count]):
            panel.apply(timed)
        errors = errors[count:]
    last = merging.flush("service")
    if last is not None:
        panel.apply(last)
    panel.advance(end_ms)
    return [told(rows.values()) for rows in panel.incidents()]


@st.composite
def spiky(draw: st.DrawFn) -> list[Tally]:
    """Draw spikes with quiet between them, long enough that candidates go back to sharing."""
    stretches = draw(
        st.lists(st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(0, 25)), max_size=6)
    )
    errors = [1, 0, 1, 0, 1]
    for windows, spike, quiet in stretches:
        errors += [spike] * windows + [0] * quiet
    return [Tally(window * WINDOW_MS, window, count, 4) for window, count in enumerate(errors)]


@given(candidates(), streams() | spiky(), st.data())
@settings(max_examples=150)
def test_each_candidate_gets_the_incidents_that_it_gets_alone(
    timelines: list[SettingsTimeline], stream: list[Tally], data: st.DataObject
) -> None:
    borders = data.draw(st.sets(st.integers(0, len(stream))))
    end_ms = stream[-1].arrival_ms + data.draw(st.sampled_from([0, 200_000, 2_000_000]))
    assert together(timelines, stream, borders, end_ms) == [
        alone(timeline, stream, end_ms) for timeline in timelines
    ]


def test_candidate_goes_back_after_an_incident_that_nothing_confirmed() -> None:
    spike = 6
    counts = [1, 0, 1, 0, 1, 0, spike, *[0] * 30, spike, 0, 0, 0]
    stream = [Tally(window * WINDOW_MS, window, errors, 4) for window, errors in enumerate(counts)]
    unconfirmed = {"confirm_sigma": NEVER, "critical_sigma": NEVER}
    timelines = [candidate(**unconfirmed), candidate(threshold_sigma=NEVER, **unconfirmed)]
    end_ms = stream[-1].arrival_ms
    expected = [alone(timeline, stream, end_ms) for timeline in timelines]
    assert [len(rows) for rows in expected] == [2, 1]
    assert together(timelines, stream, set(), end_ms) == expected


def test_candidate_taken_up_after_a_breach_that_it_has_not_judged_counts_it_in_a_run() -> None:
    breach, straggling = 8, 9
    quiet = candidate(threshold_sigma=NEVER, confirm_sigma=NEVER, critical_sigma=NEVER)
    runs = candidate(confirm_sigma=NEVER, critical_sigma=NEVER, confirm_run_windows=2)
    live = Detector("service", quiet)
    for window, errors in enumerate([1, 0, 1, 0, 1, 0, 1, 0, 9, 0]):
        feed(live, Tally(window * WINDOW_MS, window, errors, 4))
    live.drain()
    start = live.snapshot()
    assert start.windows is not None
    assert start.windows.previous.number == breach
    stream = [Tally(window * WINDOW_MS, window, 0, 4) for window in (10, 11, 12, 13)]
    stream.insert(1, Tally(10 * WINDOW_MS, straggling, 9, 0))
    end_ms = stream[-1].arrival_ms
    expected = [alone(timeline, stream, end_ms, start) for timeline in (quiet, runs)]
    [incident] = expected[1].values()
    assert incident["confirmed_start_ms"] == straggling * WINDOW_MS
    assert together([quiet, runs], stream, {1, 2, 3, 4}, end_ms, start) == expected


def test_candidates_that_differ_in_thresholds_share_a_detector() -> None:
    sigmas = [Decimal(2), Decimal("2.5"), Decimal(3)]
    timelines = [
        candidate(threshold_sigma=sigma, minimum_count=count)
        for sigma in sigmas
        for count in (1, 2)
    ]
    plans = plans_of([*timelines, candidate(baseline_windows=3)])
    assert [plan.members for plan in plans] == [(0, 1, 2, 3, 4, 5), (6,)]


def test_keenest_settings_of_a_plan_are_valid_and_as_keen_as_any_member() -> None:
    keen = DetectionSettings(threshold_sigma=Decimal(2), confirm_sigma=Decimal(4))
    dull = DetectionSettings(
        minimum_count=0, hot_sigma=Decimal(3), critical_sigma=Decimal(9), breach_lift=Decimal(1)
    )
    [plan] = plans_of([SettingsTimeline((keen,)), SettingsTimeline((dull,))])
    [keenest] = plan.keenest.versions
    assert keenest.threshold_sigma == Decimal(2)
    assert (keenest.minimum_count, keenest.breach_lift) == (0, Decimal(1))
