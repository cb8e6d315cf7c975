"""What late records do to an incident is not held against it, also while the preset changes."""

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from bench.replay import GUARDED
from flows.explain import Explanation, Reach, explain
from flows.rows import IncidentRow
from tests.unit.detection.service import Service
from tests.unit.detection.streams import SMALL, Tally, streams
from tests.unit.detection.test_explain import (
    assert_agrees,
    assert_windows_make_the_sums,
    is_of_this_life,
    moments,
    only,
)
from tocsin.detection import WINDOW_MS, DetectionSettings, Preset, SettingsTimeline

GUARDED_PRESET, PLAIN_PRESET = Preset.GUARDED, Preset.PLAIN


def changing(
    first: DetectionSettings, *presets: Preset, begin: int, every: int = 12
) -> SettingsTimeline:
    """Return a timeline of which each version has the next preset."""
    return SettingsTimeline(
        tuple(
            replace(
                first,
                preset=preset,
                version=number + 1,
                effective_from_ms=(begin + (number - 1) * every) * WINDOW_MS if number else 0,
            )
            for number, preset in enumerate(presets)
        )
    )


def rising(service: Service, timeline: SettingsTimeline, **columns: object) -> Explanation:
    [row] = service.tables.incidents.values()
    return explain(replace(row, **columns), service.tables.windows.values(), timeline)


@pytest.mark.parametrize(
    "presets",
    [
        (GUARDED_PRESET, PLAIN_PRESET),
        (PLAIN_PRESET, GUARDED_PRESET),
        (GUARDED_PRESET, PLAIN_PRESET, GUARDED_PRESET),
        (PLAIN_PRESET, GUARDED_PRESET, PLAIN_PRESET),
    ],
    ids=lambda presets: "-".join(preset.value for preset in presets),
)
@given(stream=streams())
@settings(max_examples=40)
def test_every_incident_is_recomputed_though_the_preset_changes(
    presets: tuple[Preset, ...], stream: list[Tally]
) -> None:
    timeline = changing(SMALL, *presets, begin=30)
    for tables, rows in moments(stream, timeline):
        for row in rows:
            if is_of_this_life(row, tables):
                explanation = explain(row, tables.windows.values(), timeline)
                assert_agrees(explanation)
                assert_windows_make_the_sums(explanation)


def raised_late() -> tuple[Service, IncidentRow]:
    """A weak incident of window 24 that late errors of window 25 make worse while it is open."""
    service = Service().minutes([1, 2] * 12 + [9, 1, 2, 1])
    service.run(25, 30, 0, arrival_ms=28 * WINDOW_MS)
    service.minutes([1, 2] * 5, start=28)
    [row] = service.tables.incidents.values()
    return service, row


def test_late_errors_that_raise_an_incident_are_not_held_against_it() -> None:
    service, row = raised_late()
    assert row.hot_start_ms == 25 * WINDOW_MS
    assert row.z is not None
    assert row.peak_z > row.z
    assert_agrees(only(service.tables))


def test_peak_that_no_number_of_the_late_errors_makes_is_found_out() -> None:
    service, row = raised_late()
    between = rising(service, GUARDED, peak_z=(row.peak_z + (row.z or 0.0)) / 2)
    assert any(line.startswith("peak z: ") for line in between.disagreements)


def test_late_errors_confirm_by_the_plain_rule_what_the_guarded_one_opened() -> None:
    timeline = changing(DetectionSettings(), GUARDED_PRESET, PLAIN_PRESET, begin=25)
    service = Service(timeline).minutes([1, 2] * 12 + [9, 1, 2, 1])
    service.run(25, 30, 0, arrival_ms=28 * WINDOW_MS)
    service.minutes([1, 2] * 5, start=28)
    [row] = service.tables.incidents.values()
    assert row.confirmed_start_ms == 25 * WINDOW_MS
    told = rising(service, timeline)
    assert_agrees(told)
    assert told.reach is Reach.FULL
    assert not rising(service, timeline, confirmed_start_ms=26 * WINDOW_MS).agrees


def test_what_late_errors_confirmed_before_the_guarded_rule_is_recomputed_in_part() -> None:
    """The guarded rule flags the windows of what is confirmed, whoever confirmed it."""
    timeline = changing(DetectionSettings(), PLAIN_PRESET, GUARDED_PRESET, begin=25)
    service = Service(timeline).minutes([1, 2] * 12)
    service.run(20, 30, 0, arrival_ms=24 * WINDOW_MS)
    service.minutes([1, 9, 1, 2, 1, 2, 1, 2, 1, 2, 1], start=24)
    [row] = service.tables.incidents.values()
    assert row.confirmed_start_ms == 20 * WINDOW_MS
    assert service.tables.numbers(flagged=True)
    told = rising(service, timeline)
    assert_agrees(told)
    assert told.reach is Reach.PLAIN
    assert (
        "Late errors may have confirmed by the plain rule what the guarded one went on with"
        in told.lines
    )
    assert not rising(service, timeline, plain_sum=row.plain_sum + 1).agrees


def test_silence_that_is_known_before_an_incident_of_errors_is_calm_agrees() -> None:
    """That incident unflags its calm windows when it ends, after those that the silence reads."""
    timeline = SettingsTimeline((DetectionSettings(calm_windows=8),))
    service = Service(timeline).minutes([1, 2] * 8 + [1, 60, 1, 2])
    service.advance_to(40)
    [silence] = service.tables.silences.values()
    assert silence.confirmed_start_ms == 24 * WINDOW_MS
    assert service.tables.numbers(flagged=True) == [17]
    assert_agrees(explain(silence, service.tables.windows.values(), timeline))
