"""Versions of the detection settings: what each service is judged by, and what cannot be."""

from decimal import Decimal

import msgspec
import pytest
from msgspec import Raw

from tocsin.detection import WINDOW_MS, DetectionSettings, Preset
from tocsin.errors import SettingsError
from tocsin.settings_versions import (
    LEAD_MS,
    Override,
    SettingsBook,
    SettingsDocument,
    SettingsVersion,
    next_window_start_ms,
)

START_MS = 100 * WINDOW_MS


def document(settings: str, **overrides: str) -> SettingsDocument:
    return SettingsDocument(
        msgspec.json.decode(settings, type=dict[str, Raw]),
        [
            Override(pattern, msgspec.json.decode(text, type=dict[str, Raw]))
            for pattern, text in overrides.items()
        ],
    )


def book_of(*documents: SettingsDocument) -> SettingsBook:
    versions = [SettingsVersion(1, 0, SettingsDocument())]
    versions += [
        SettingsVersion(number, START_MS * (number - 1), document)
        for number, document in enumerate(documents, 2)
    ]
    return SettingsBook(tuple(versions), read_ms=0)


def test_a_version_judges_the_windows_from_its_start_on_and_none_before() -> None:
    timeline = book_of(document('{"threshold_sigma": 2.5}')).timeline("checkout")
    assert timeline.at(99).threshold_sigma == 3
    assert timeline.at(100).threshold_sigma == Decimal("2.5")
    assert [settings.version for settings in timeline.versions] == [1, 2]


def test_a_decimal_is_read_as_it_was_written() -> None:
    timeline = book_of(document('{"threshold_sigma": 3.3, "hot_sigma": "0.1"}')).timeline("a")
    assert timeline.at(100).threshold_sigma == Decimal("3.3")
    assert timeline.at(100).hot_sigma == Decimal("0.1")


def test_the_first_pattern_that_matches_is_taken_on_top_of_what_all_services_have() -> None:
    overrides = {"batch-*": '{"minimum_count": 50}', "*": '{"minimum_count": 9}'}
    book = book_of(document('{"calm_windows": 7}', **overrides))
    batch, other = (book.timeline(name).at(100) for name in ("batch-night", "checkout"))
    assert (batch.minimum_count, batch.calm_windows) == (50, 7)
    assert (other.minimum_count, other.calm_windows) == (9, 7)


def test_services_with_equal_settings_share_one_timeline() -> None:
    book = book_of(document("{}", **{"batch-*": '{"minimum_count": 50}'}))
    assert book.timeline("a") is book.timeline("b")
    assert book.timeline("a") is not book.timeline("batch-a")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ('{"threshold_sigmas": 3}', "threshold_sigmas"),
        ('{"threshold_sigma": "many"}', "threshold_sigma"),
        ('{"minimum_count": -1}', "minimum_count is -1"),
        ('{"minimum_count": 2.5}', "minimum_count: expected `int`"),
        ('{"preset": "loud"}', "preset"),
        ('{"hot_sigma": 4}', "threshold_sigma must be at least hot_sigma"),
        ('{"idle_ms": 1000}', "idle_ms: cannot be changed"),
        ('{"version": 9}', "version: cannot be changed"),
    ],
)
@pytest.mark.parametrize("place", ["all", "some"])
def test_what_cannot_work_is_refused_in_one_line_that_names_it(
    settings: str, complaint: str, place: str
) -> None:
    changed = document(settings) if place == "all" else document("{}", **{"a*": settings})
    with pytest.raises(SettingsError) as error:
        SettingsVersion(2, START_MS, changed).check()
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_change_keeps_what_was_changed_before() -> None:
    first = SettingsDocument().with_change(None, {"minimum_count": Raw(b"9")})
    both = first.with_change("batch-*", {"preset": Raw(b'"plain"')})
    again = both.with_change("batch-*", {"minimum_count": Raw(b"50")})
    version = SettingsVersion(2, START_MS, again)
    assert version.settings_for("a").minimum_count == 9
    assert version.settings_for("batch-a").minimum_count == 50
    assert version.settings_for("batch-a").preset is Preset.PLAIN


def test_defaults_are_the_first_version() -> None:
    assert SettingsBook.of_defaults().timeline("a").versions == (DetectionSettings(),)


def test_the_next_start_is_a_window_start_at_least_the_lead_ahead() -> None:
    for now_ms in (0, 1, WINDOW_MS - 1, WINDOW_MS):
        start_ms = next_window_start_ms(now_ms)
        assert start_ms % WINDOW_MS == 0
        assert LEAD_MS <= start_ms - now_ms < LEAD_MS + WINDOW_MS
