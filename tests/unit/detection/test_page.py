"""What docs/detection.md says is so: its settings, its scores, its pictures."""

import re
from decimal import Decimal

import msgspec

from bench.pictures import DRAWINGS, PICTURES
from bench.quality import COLUMNS, cells, detector_scores, findings, literal_scores
from bench.replay import incidents_of, read_json
from flows.scoring import confirmations
from tests.unit.detection.conftest import Replays
from tocsin.detection import DetectionSettings

PAGE = (PICTURES.parent / "detection.md").read_text()


def table(*header: str) -> list[list[str]]:
    """Return the rows of the page's tables with this header."""
    rows, inside = [], False
    for line in PAGE.splitlines():
        columns = [column.strip() for column in line.strip("|").split("|")]
        if columns == list(header):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not set(line) <= set("|-"):
            rows.append(columns)
    return rows


def test_every_setting_is_on_the_page_with_its_default() -> None:
    defaults = msgspec.to_builtins(DetectionSettings())
    shown = {
        name.strip("`"): default.strip("`")
        for name, default, _, _ in table("setting", "default", "unit", "meaning")
    }
    assert shown == {
        name: str(default).lower() if isinstance(default, bool) else str(default)
        for name, default in defaults.items()
    }


def test_every_number_among_the_settings_has_its_unit() -> None:
    for name, _, unit, _ in table("setting", "default", "unit", "meaning"):
        default = getattr(DetectionSettings(), name.strip("`"))
        if type(default) in {int, Decimal} and name != "`version`":
            assert unit, name


def test_the_scores_are_those_that_are_measured(week: Replays, three_hours: Replays) -> None:
    labels = read_json("synth_s11_labels.json")
    events = read_json("events_3h_s11_labels.json")
    scores = [
        *literal_scores(labels).items(),
        *detector_scores(labels, week).items(),
        *detector_scores(events, three_hours).items(),
    ]
    assert table("", *COLUMNS) == [[name, *cells(score)] for name, score in scores]


def test_what_is_found_and_what_is_false_is_as_measured(week: Replays) -> None:
    confirmed = confirmations(incidents_of(week["guarded"]))
    lines = findings(read_json("synth_s11_labels.json"), confirmed)
    assert "\n".join(lines) in PAGE


def test_every_picture_is_on_the_page_and_can_be_made_again() -> None:
    shown = re.findall(r"\(pictures/(\w+)\.png\)", PAGE)
    assert sorted(shown) == sorted(DRAWINGS)
    assert {path.stem for path in PICTURES.iterdir()} >= DRAWINGS.keys()


def test_every_picture_in_the_folder_is_shown_on_a_page() -> None:
    pages = "".join(path.read_text() for path in PICTURES.parent.glob("*.md"))
    shown = set(re.findall(r"\(pictures/(\w[\w-]*)\.png\)", pages))
    assert shown == {path.stem for path in PICTURES.iterdir()}
