"""What a change of the settings would have changed, as people read it."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from flows.change_words import INCIDENTS_MAX, SERVICES_MAX, in_words
from flows.labels import Interval, Labels
from flows.replayed import LIVE, Candidate, Replay
from flows.rows import IncidentRow
from flows.scorecard import View, score_replay
from tests.unit.backtest.labels import label
from tests.unit.backtest.test_comparing import ROW
from tocsin.detection import WINDOW_MS
from tocsin.settings_versions import SettingsDocument, SettingsVersion

VERSIONS = (SettingsVersion(1, 0, SettingsDocument()),)


def row(low: int, *, service: str = "a", at_s: int = 30, confirmed: bool = True) -> IncidentRow:
    """One of five windows, told so many seconds into its first."""
    told_ms = low * WINDOW_MS + at_s * 1000
    changes: dict[str, Any] = {
        "incident_id": f"{service}:{low}",
        "service_id": service,
        "window_start_ms": low * WINDOW_MS,
        "low_start_ms": low * WINDOW_MS,
        "opened_at_ms": low * WINDOW_MS,
        "confirmed_start_ms": low * WINDOW_MS if confirmed else None,
        "confirmed_at_ms": told_ms if confirmed else None,
        "resolved_start_ms": (low + 5) * WINDOW_MS,
        "peak_z": 8.0,
    }
    return replace(ROW, **changes)


def words(
    before: Sequence[IncidentRow], after: Sequence[IncidentRow], labels: Labels | None = None
) -> list[str]:
    replay = Replay(
        begin_ms=0,
        end_ms=10_000 * WINDOW_MS,
        candidates=[Candidate(LIVE, VERSIONS), Candidate("tried", VERSIONS)],
        incidents=[list(before), list(after)],
        series={},
        records=0,
        dead_letters=0,
        source="topic logs",
        ended_early=False,
    )
    known = labels or Labels(complete=False)
    return list(in_words([score_replay(replay, known, view) for view in View]))


def test_change_that_changes_nothing_is_said_to_change_nothing() -> None:
    rows = [row(10), row(30, confirmed=False)]
    assert words(rows, rows) == [
        "nothing would have changed: the same 1 confirmed incidents, told as soon"
    ]


def test_new_and_gone_are_counted_by_service_and_listed_in_the_order_of_time() -> None:
    before = [row(10), row(30), row(50, service="b")]
    after = [row(10), row(70, service="b"), row(50, service="b"), row(20, service="c")]
    assert words(before, after) == [
        "confirmed incidents: 4 instead of 3; 2 new, 1 gone",
        "  a would have had 1 instead of 2",
        "  b would have had 2 instead of 1",
        "  c would have had 1 instead of 0",
        "  nothing of that time is labelled: see `tocsin incidents label`",
        "  new             1970-01-01 00:20  c, peak z 8.0",
        "  gone            1970-01-01 00:30  a, peak z 8.0",
        "  new             1970-01-01 01:10  b, peak z 8.0",
        "incidents, as opened: 4 instead of 3; 2 new, 1 gone",
    ]


def test_what_is_told_sooner_or_later_is_told_by_how_much_at_the_median() -> None:
    before = [row(low, at_s=50) for low in (10, 20, 30, 40)]
    after = [row(10, at_s=40), row(20, at_s=10), row(30, at_s=20), row(40, at_s=55)]
    lines = words(before, after)
    assert lines[0] == (
        "confirmed incidents: 4, as many as now; 0 new, 0 gone, 3 told earlier, by 30 s at the"
        " median, 1 told later, by 5 s at the median"
    )
    assert lines[2:6] == [
        "  10 s earlier    1970-01-01 00:10  a, peak z 8.0",
        "  40 s earlier    1970-01-01 00:20  a, peak z 8.0",
        "  30 s earlier    1970-01-01 00:30  a, peak z 8.0",
        "  5 s later       1970-01-01 00:40  a, peak z 8.0",
    ]
    assert lines[6] == "incidents, as opened: 4, as now"


def test_labels_say_what_would_still_be_found_and_what_alarms_would_be_gone() -> None:
    labels = Labels(
        incidents=(
            label("a", 10 * WINDOW_MS, 15 * WINDOW_MS),
            label("a", 200 * WINDOW_MS, 205 * WINDOW_MS),
            label("a", 300 * WINDOW_MS, 305 * WINDOW_MS),
        ),
        harmless=tuple(
            Interval("b", low * WINDOW_MS, (low + 5) * WINDOW_MS) for low in (20, 40, 60)
        ),
        complete=False,
    )
    false = [row(low, service="b") for low in (20, 40)]
    lines = words([row(10), *false], [row(10), row(200), false[0], row(60, service="b")], labels)
    assert lines[2:4] == [
        "  of 3 labelled true or missed, 2 would be found, now 1",
        "  of 2 labelled false, 1 would be gone, and 1 told where nothing was",
    ]
    assert [line.partition("z 8.0")[2] for line in lines[4:7]] == [
        ", labelled false",
        ", labelled false",
        ", labelled true",
    ]
    assert "  of 3 labelled true or missed, 1 would be found, as now" in words(
        [row(10), *false], [row(10)], labels
    )


def test_incident_that_was_no_hit_and_becomes_one_is_called_by_what_it_becomes() -> None:
    labels = Labels(incidents=(label("a", 10 * WINDOW_MS, 15 * WINDOW_MS),), complete=False)
    lines = words([row(10, at_s=30)], [row(10, at_s=20)], labels)
    assert lines[2] == "  10 s earlier    1970-01-01 00:10  a, peak z 8.0, labelled true"


def test_long_lists_are_cut_and_say_so() -> None:
    many = [row(10 * n, service=f"s{n:02}") for n in range(SERVICES_MAX + INCIDENTS_MAX)]
    lines = words(many, [])
    assert f"  … and {INCIDENTS_MAX} more services" in lines
    assert f"  … and {SERVICES_MAX} more" in lines
    assert len(lines) == SERVICES_MAX + INCIDENTS_MAX + 5


def test_only_opened_incidents_that_change_are_told_too() -> None:
    lines = words([row(10)], [row(10), row(30, confirmed=False)])
    assert lines[0] == "confirmed incidents: 1, as now"
    assert lines[-1] == "incidents, as opened: 2 instead of 1; 1 new, 0 gone"


def test_service_cannot_steer_the_terminal() -> None:
    assert not any("\x1b" in line for line in words([row(10, service="\x1b[2J")], []))
