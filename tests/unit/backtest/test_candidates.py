"""What is tried: every combination of values, on top of what each version says already."""

from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import Raw

from flows.candidates import (
    candidates_of,
    default_candidate,
    grid_of,
    live_candidate,
    read_document,
    read_file,
    read_values,
)
from tocsin.backtests import CANDIDATES_MAX
from tocsin.detection import WINDOW_MS, Preset
from tocsin.errors import SettingsError
from tocsin.settings_versions import Override, SettingsBook, SettingsDocument, SettingsVersion

BOOK = SettingsBook(
    (
        SettingsVersion(1, 0, SettingsDocument()),
        SettingsVersion(
            4,
            WINDOW_MS,
            SettingsDocument(
                {"minimum_count": Raw(b"7")}, [Override("batch-*", {"minimum_count": Raw(b"90")})]
            ),
        ),
    ),
    read_ms=0,
)


def test_grid_is_every_combination_and_named_for_what_it_changes() -> None:
    grid = {"threshold_sigma": ["2.5", "3"], "minimum_count": ["3", "10"], "preset": ["plain"]}
    assert [change.name for change in grid_of(grid)] == [
        "sigma=2.5 min-count=3 preset=plain",
        "sigma=2.5 min-count=10 preset=plain",
        "sigma=3 min-count=3 preset=plain",
        "sigma=3 min-count=10 preset=plain",
    ]


def test_candidates_change_every_version_and_leave_what_is_said_of_some_services() -> None:
    live, tried = candidates_of(live_candidate(BOOK), grid_of({"minimum_count": ["3"]}))
    assert live.versions == BOOK.versions
    assert [version.version for version in tried.versions] == [1, 4]
    assert [one.minimum_count for one in tried.book.timeline("web").versions] == [3, 3]
    assert [one.minimum_count for one in tried.book.timeline("batch-1").versions] == [3, 90]


def test_candidates_for_some_services_leave_the_others_as_they_are() -> None:
    changes = grid_of({"threshold_sigma": ["4"]}, "web-*")
    _, tried = candidates_of(live_candidate(BOOK), changes)
    assert tried.name == "sigma=4 for web-*"
    assert tried.book.timeline("web-1").versions[1].threshold_sigma == Decimal(4)
    assert tried.book.timeline("api").versions[1].threshold_sigma == Decimal(3)


def test_setting_that_a_document_names_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="threshold_sigma: given twice"):
        read_document({"grid": {"sigma": [3], "threshold_sigma": [4]}})


def test_values_are_read_as_they_are_typed() -> None:
    assert read_values(["sigma=2.5,3", "calm_windows=3, 4"]) == {
        "threshold_sigma": ["2.5", "3"],
        "calm_windows": ["3", "4"],
    }


@pytest.mark.parametrize(
    ("grid", "what"),
    [
        ({"minimum_cuont": ["3"]}, "minimum_cuont: no such setting, did you mean minimum_count?"),
        ({"threshold_sigma": ["much"]}, "threshold_sigma is 'much': give a number, as 2.5"),
        ({"threshold_sigma": [""]}, "threshold_sigma is '': give a number, as 2.5"),
        ({"idle_ms": ["3"]}, "idle_ms: cannot be changed"),
        ({"calm_windows": [str(n) for n in range(1, 502)]}, "the grid has 501 candidates"),
        ({"threshold_sigma": ["6"]}, "sigma=6: threshold_sigma is 6 and critical_sigma is 5"),
    ],
)
def test_what_cannot_be_tried_is_said_in_one_line(grid: dict[str, list[str]], what: str) -> None:
    with pytest.raises(SettingsError) as raised:
        candidates_of(default_candidate(), grid_of(grid))
    assert str(raised.value).startswith(what)
    assert "\n" not in str(raised.value)


def test_file_names_a_grid_and_candidates_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "tried.toml"
    path.write_text(
        """
        [grid]
        sigma = [2.5, 3.25]
        silence = [false]
        [[candidate]]
        name = "quiet batches"
        settings = {preset = "plain"}
        overrides = [{services = "batch-*", settings = {minimum_count = 50}}]
        """
    )
    changes = read_file(path)
    names = ["sigma=2.5 silence=false", "sigma=3.25 silence=false", "quiet batches"]
    assert [change.name for change in changes] == names
    found = candidates_of(default_candidate(), changes)
    assert found[2].book.timeline("web").versions[0].threshold_sigma == Decimal("3.25")
    [batch] = found[3].book.timeline("batch-1").versions
    assert (batch.minimum_count, batch.preset) == (50, Preset.PLAIN)


OVERRIDE = "[[candidate]]\nname = 'a'\n[[candidate.overrides]]\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[grid", "is no TOML"),
        ("[gird]\nsigma = [3]", "gird: not known, did you mean grid?"),
        ("[grid]\nsigma = 3", "sigma: give a list of values"),
        ("[grid]\nsigmaa = [3]", "sigmaa: no such setting, did you mean sigma?"),
        ("[grid]\nsgma = [3]", "sgma: no such setting, did you mean sigma?"),
        (
            "[[candidate]]\nname = 'a'\nsettings = { sgma = 3 }",
            "sgma: no such setting, did you mean sigma?",
        ),
        ("[grid]\nht_sigma = [3]", "ht_sigma: no such setting, did you mean hot_sigma?"),
        ("[[candidate]]\nsettings = {}", "candidate: give each a name"),
        ("[[candidate]]\nname = 'a'\nsetting = {}", "setting: not known, did you mean settings?"),
        ("candidate = 3", "write [grid] with lists"),
        ("grid = 3", "write [grid] with lists"),
        ("[grid]\nsigma = [" + "1" * 5000 + "]", "is no TOML"),
        ("a = " + "[" * 3000, "is no TOML"),
        (OVERRIDE + "services = ['batch-*']", "overrides: give each a pattern"),
        (OVERRIDE + "settings = {minimum_count = 3}", "overrides: give each a pattern"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_file_that_cannot_be_tried_is_named_with_what_is_wrong(
    tmp_path: Path, text: str, what: str
) -> None:
    path = tmp_path / "tried.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as raised:
        read_file(path)
    assert str(raised.value).startswith(f"{path}: {what}")
    assert "\n" not in str(raised.value)


def test_missing_file_and_a_name_given_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_file(tmp_path / "none.toml")
    twice = grid_of({"minimum_count": ["3"]})
    with pytest.raises(SettingsError, match="two candidates are named 'min-count=3'"):
        candidates_of(default_candidate(), twice + twice)


def test_at_most_so_many_are_taken() -> None:
    many = grid_of({"calm_windows": [str(n) for n in range(1, 101)]})
    most = many + grid_of({"minimum_count": [str(n) for n in range(CANDIDATES_MAX - 100)]})
    assert len(candidates_of(default_candidate(), most)) == CANDIDATES_MAX + 1
    with pytest.raises(SettingsError, match="more than 500 candidates"):
        candidates_of(default_candidate(), most + grid_of({"silence": ["false"]}))
