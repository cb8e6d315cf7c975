"""A service taken up in the midst of its life, from its final rows, goes on as it has gone on."""

from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from flows.as_of import snapshot_as_of, window_as_of
from flows.detector import Detector
from flows.plans import plans_of
from flows.rows import IncidentRow, Run, WindowRow
from flows.trial import ServiceTrial
from tests.unit.detection.streams import SMALL, Tally, streams
from tocsin.detection import WINDOW_MS, Preset, ResolveReason, SettingsTimeline

Rows = dict[str, dict[str, Any]]
LATER = 60 * WINDOW_MS


def with_others(stream: list[Tally]) -> Iterator[tuple[Run, list[int]]]:
    """Yield every record as a run of its own, with others' arrivals before it, one a minute."""
    offset, before_ms = 0, stream[0].arrival_ms
    for tally in stream:
        others_ms = list(range(before_ms - before_ms % WINDOW_MS, tally.arrival_ms, WINDOW_MS))[1:]
        before_ms = at_ms = tally.arrival_ms
        for number in range(tally.errors + tally.others):
            yield Run(tally.window, 1, int(number < tally.errors), at_ms, at_ms, offset), others_ms
            offset, others_ms = offset + 1, []


def live(
    timeline: SettingsTimeline, stream: list[Tally], end_ms: int
) -> tuple[dict[int, WindowRow], dict[str, IncidentRow]]:
    """The final rows of a detector that judges every record alone."""
    detector = Detector("service", timeline)
    windows: dict[int, WindowRow] = {}
    incidents: dict[str, IncidentRow] = {}

    def keep() -> None:
        outcome = detector.drain()
        windows.update((row.window_start_ms // WINDOW_MS, row) for row in outcome.windows)
        incidents.update((row.incident_id, row) for row in outcome.incidents)

    for run, others_ms in with_others(stream):
        for arrival_ms in others_ms:
            detector.advance(arrival_ms)
            keep()
        detector.apply(run)
        keep()
    detector.advance(end_ms)
    keep()
    return windows, incidents


def taken_up(
    timelines: list[SettingsTimeline],
    stream: list[Tally],
    since_ms: int,
    until_ms: int,
    ledger: tuple[dict[int, WindowRow], dict[str, IncidentRow]],
) -> dict[str, IncidentRow]:
    """What a trial says that reads from a moment up to another, and knows the final rows."""
    windows, incidents = ledger
    number = window_as_of(since_ms)
    start = snapshot_as_of(
        since_ms,
        [row for n, row in windows.items() if n <= number],
        sorted(incidents.values(), key=lambda row: row.window_start_ms),
        timelines[0],
    )
    trial = ServiceTrial("service", timelines, plans_of(timelines), start, since_ms)
    for run, others_ms in with_others(stream):
        for arrival_ms in others_ms:
            if arrival_ms >= since_ms:
                trial.advance(arrival_ms)
        if run.first_arrival_ms >= since_ms:
            trial.take([run], [run.first_arrival_ms] * run.errors, is_scored=True)
    return {row.incident_id: row for row in trial.end(until_ms).incidents[0]}


def told(row: IncidentRow, number: int) -> dict[str, Any]:
    """An incident, but for what depends on draining; and stamps of the window taken up in."""
    left_out = {"offset", "clock_start_ms"}
    if row.low_start_ms >= (number - 1) * WINDOW_MS or row.detected_late:
        left_out |= {"opened_at_ms", "confirmed_at_ms"}
    if row.confirmed_start_ms is not None and row.confirmed_start_ms <= number * WINDOW_MS:
        left_out |= {"confirmed_at_ms"}
    fields = structs.asdict(row)
    return {name: value for name, value in fields.items() if name not in left_out}


CHANGES = st.fixed_dictionaries(
    {
        "preset": st.sampled_from(list(Preset)),
        "confirm_run_windows": st.sampled_from([1, 2, 3]),
        "minimum_count": st.sampled_from([0, 2, 5]),
    }
)


@given(
    CHANGES,
    streams(late=False, most=120),
    st.integers(0, 3_000_000),
    st.integers(1, 120),
    st.lists(CHANGES, max_size=2),
    st.sampled_from([0, 200_000, 2_000_000]),
)
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_service_taken_up_from_its_rows_has_the_incidents_that_it_had(
    changes: dict[str, Any],
    stream: list[Tally],
    after_ms: int,
    read: int,
    others: list[dict[str, Any]],
    rest_ms: int,
) -> None:
    timelines = [SettingsTimeline((structs.replace(SMALL, **own),)) for own in [changes, *others]]
    since_ms = 20 * WINDOW_MS + after_ms
    ledger = live(timelines[0], stream, stream[-1].arrival_ms + rest_ms)
    # What is read ends earlier than what the rows tell of.
    until_ms = stream[:read][-1].arrival_ms
    windows, incidents = live(timelines[0], stream[:read], until_ms)
    number = window_as_of(since_ms)
    # Late records, and the end of a service that is forgotten just then, are beyond the rows.
    assume(max(windows) > number)
    assume(not any(row.late_total for row in ledger[0].values()))
    over_ms = (number - 2) * WINDOW_MS
    newer = [row for row in incidents.values() if (row.resolved_start_ms or 2**62) > over_ms]
    assume(not any(_is_forgotten_at(row, number) for row in newer))
    found = taken_up(timelines, stream[:read], since_ms, until_ms, ledger)
    assert {key: told(row, number) for key, row in found.items()} == {
        row.incident_id: told(row, number) for row in newer
    }


def _is_forgotten_at(row: IncidentRow, number: int) -> bool:
    is_retired = row.reason is ResolveReason.RETIRED
    return is_retired and (row.resolved_start_ms or 0) <= number * WINDOW_MS
