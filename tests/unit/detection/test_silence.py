"""A talkative service that falls silent has an incident of that kind; it touches nothing else."""

from msgspec.structs import replace

from bench.replay import GUARDED, PLAIN
from flows.rows import IncidentRow
from tests.unit.detection.service import Service
from tocsin.detection import (
    WINDOW_MS,
    IncidentKind,
    IncidentStatus,
    Moment,
    ResolveReason,
    SettingsTimeline,
    silence_id,
)

TALKATIVE = [(window, 1, 20) for window in range(20)]


def silent(service: Service) -> IncidentRow:
    [row] = service.tables.silences.values()
    return row


def after(silence: int, *, timeline: SettingsTimeline = GUARDED) -> Service:
    """A talkative service, so many minutes after it fell silent."""
    service = Service(timeline)
    for minute in TALKATIVE:
        service.run(*minute)
    service.advance_to(19 + silence + 2)
    return service


def test_silence_opens_an_incident_with_the_fifth_window_and_names_the_first() -> None:
    assert not after(4).tables.silences
    row = silent(after(5))
    assert row.kind is IncidentKind.SILENCE
    assert row.incident_id == silence_id("service", 20 * WINDOW_MS)
    assert (row.window_start_ms, row.confirmed_start_ms) == (20 * WINDOW_MS, 24 * WINDOW_MS)
    assert row.status is IncidentStatus.OPEN
    assert (row.count, row.z, row.guarded_z) == (0, None, None)
    assert (row.guarded_records, row.guarded_n) == (20 * 21, 20 + 3)


def test_silence_is_one_incident_however_long_it_lasts() -> None:
    assert len(after(60).tables.silences) == 1


def test_next_record_resolves_a_silence() -> None:
    service = after(8)
    service.run(30, 0, 1)
    row = silent(service)
    assert (row.status, row.reason) == (IncidentStatus.RESOLVED, ResolveReason.SPOKE)
    assert row.resolved_start_ms == 28 * WINDOW_MS
    moments = [event.moment for event in service.tables.silence_events]
    assert moments == [Moment.OPENED, Moment.CONFIRMED, Moment.RESOLVED]


def test_late_record_resolves_a_silence_and_the_same_gap_opens_no_other() -> None:
    service = after(8)
    service.run(21, 1, 0)
    assert silent(service).status is IncidentStatus.RESOLVED
    service.advance_to(60)
    assert silent(service).status is IncidentStatus.RESOLVED


def test_silence_that_becomes_known_only_when_the_service_has_spoken_again_is_over_at_once() -> (
    None
):
    service = Service()
    for minute in TALKATIVE:
        service.run(*minute)
    service.run(25, 1, 20)
    assert not service.tables.silences
    service.advance_to(40)
    first, second = service.tables.silences.values()
    assert (first.window_start_ms, first.resolved_start_ms) == (20 * WINDOW_MS, 24 * WINDOW_MS)
    assert first.reason is ResolveReason.SPOKE
    assert (second.window_start_ms, second.status) == (26 * WINDOW_MS, IncidentStatus.OPEN)


def test_silence_ends_when_the_service_is_forgotten() -> None:
    row = silent(after(2000))
    assert (row.status, row.reason) == (IncidentStatus.RESOLVED, ResolveReason.RETIRED)
    assert row.resolved_start_ms == (19 + 1440) * WINDOW_MS


def test_next_gap_is_a_silence_of_its_own() -> None:
    service = after(8)
    for window in range(30, 40):
        service.run(window, 1, 20)
    service.advance_to(60)
    assert len(service.tables.silences) == 2


def test_silence_can_be_turned_off_and_the_plain_rule_has_none() -> None:
    off = SettingsTimeline((replace(GUARDED.versions[0], silence=False),))
    assert not after(60, timeline=off).tables.silences
    assert not after(60, timeline=PLAIN).tables.silences


def test_silence_changes_nothing_about_windows_and_incidents_of_errors() -> None:
    off = SettingsTimeline((replace(GUARDED.versions[0], silence=False),))
    services = [after(60, timeline=timeline) for timeline in (GUARDED, off)]
    for service in services:
        service.run(81, 40, 5)
    with_silence, without = (service.tables for service in services)
    assert with_silence.windows == without.windows
    assert with_silence.incidents == without.incidents
