"""Which baseline decided on an incident, and in which later windows it went on."""

import pytest
from msgspec.structs import replace

from bench.replay import GUARDED, PLAIN
from flows.detector import Detector
from flows.explain import explain
from flows.known import Place, ServiceState
from flows.rows import IncidentEvent, Run
from flows.titles import title
from tests.unit.detection.service import Service
from tocsin.detection import WINDOW_MS, Moment, Preset
from tocsin.errors import RecoveryDamaged

OUTAGE = [1, 2] * 20 + [60, 45, 50] + [1, 2] * 5
"""What the plain baseline has learned afterwards, and the guarded one has not."""


def test_an_incident_that_a_breach_opened_names_the_guarded_baseline() -> None:
    tables = Service().minutes([*OUTAGE, 20]).tables
    incident = tables.newest_incident
    assert incident is not None
    assert incident.z is not None
    assert incident.guarded_z is not None
    assert incident.z < 3 < incident.guarded_z
    assert incident.decided_by is Preset.GUARDED
    assert f"(z = {incident.guarded_z:.1f})" in title(incident)
    assert explain(incident, tables.windows.values(), GUARDED).agrees


def test_of_two_baselines_on_which_a_window_is_abnormal_the_higher_score_decides() -> None:
    incident = Service().minutes([1, 2] * 20 + [60]).tables.newest_incident
    assert incident is not None
    assert incident.z is not None
    assert incident.guarded_z is not None
    assert incident.z > incident.guarded_z > 3
    assert incident.decided_by is Preset.PLAIN
    assert f"(z = {incident.z:.1f})" in title(incident)


def test_a_score_that_opens_nothing_does_not_decide_however_high_it_is() -> None:
    """148 errors are no breach of a guarded mean of 100: it takes half as much again."""
    service = Service().minutes([95, 105] * 20 + [175] + [95, 105] * 4 + [148])
    newest = service.tables.newest_incident
    assert newest is not None
    assert newest.z is not None
    assert newest.guarded_z is not None
    assert newest.guarded_z > newest.z > 3
    assert (newest.count, newest.decided_by) == (148, Preset.PLAIN)
    assert f"(z = {newest.z:.1f})" in title(newest)


def test_late_errors_are_judged_on_the_plain_baseline_and_decide_on_it() -> None:
    service = Service().minutes([1, 2] * 12)
    service.run(20, 30, 0, arrival_ms=25 * WINDOW_MS)
    incident = service.tables.newest_incident
    assert incident is not None
    assert (incident.detected_late, incident.decided_by) == (True, Preset.PLAIN)


def test_late_errors_do_not_change_which_baseline_has_decided() -> None:
    service = Service().minutes([*OUTAGE, 20, 1, 2])
    service.run(len(OUTAGE), 200, 0, arrival_ms=(len(OUTAGE) + 4) * WINDOW_MS)
    incident = service.tables.newest_incident
    assert incident is not None
    assert (incident.count, incident.decided_by) == (220, Preset.GUARDED)
    assert explain(incident, service.tables.windows.values(), GUARDED).agrees


def test_by_the_plain_rule_the_plain_baseline_decides() -> None:
    incident = Service(PLAIN).minutes([1, 2] * 20 + [60]).tables.newest_incident
    assert incident is not None
    assert (incident.decided_by, incident.guarded_z) == (Preset.PLAIN, None)


def went_on(errors: list[int]) -> list[IncidentEvent]:
    detector = Detector("service", GUARDED)
    found = []
    for window, count in enumerate(errors):
        arrival_ms = (window + 1) * WINDOW_MS
        detector.apply(Run(window, count + 20, count, arrival_ms, arrival_ms, window))
        found += [event for event in detector.drain().events if event.moment is Moment.WENT_ON]
    return found


def test_an_incident_goes_on_once_in_each_later_window_that_is_abnormal() -> None:
    events = went_on([1, 2] * 20 + [60, 45, 1, 50] + [1, 2] * 5)
    windows = [event.window_start_ms // WINDOW_MS for event in events]
    assert windows == [41, 43]
    assert [(event.count, event.at_ms) for event in events] == [
        (45, 42 * WINDOW_MS),
        (50, 44 * WINDOW_MS),
    ]
    assert all(event.z is not None and event.z > 3 for event in events)


def test_a_window_that_is_hot_only_by_the_lower_threshold_goes_on_when_it_closes() -> None:
    events = went_on([4] * 40 + [40, 40, 40] + [8] + [4] * 8)
    last = events[-1]
    assert (last.window_start_ms // WINDOW_MS, last.count) == (43, 8)
    assert last.at_ms == 46 * WINDOW_MS
    assert last.z is not None
    assert 1.5 < last.z < 3


def test_a_snapshot_of_another_format_is_refused() -> None:
    snapshot = Service().minutes([1, 2]).detector.snapshot()
    with pytest.raises(RecoveryDamaged, match="snapshots of format 1"):
        Detector.restore(replace(snapshot, format=1), GUARDED)


def some_state() -> ServiceState:
    return ServiceState(Place(1, 2, 3), Service().minutes([1, 2]).detector.snapshot())


@pytest.mark.parametrize(
    "kept",
    [
        some_state(),
        b"",
        b"x",
        some_state().packed()[:-1],
        some_state().packed() + b"x",
        some_state().packed().replace(b"service", b"\xffervice"),
    ],
)
def test_what_is_no_packed_state_is_refused(kept: object) -> None:
    with pytest.raises(RecoveryDamaged, match="as this version of Tocsin keeps them"):
        ServiceState.unpacked(kept)
