"""`docs/incidents.md` is true: the fields of a message, the moments, the example."""

import re
from pathlib import Path

from bench.replay import GUARDED
from flows.explain import Reach, explain
from sql.incident_changes import PERSON_MOMENTS
from sql.timeline import TimelineEntry
from tests.unit.detection.conftest import Replays
from tocsin.detection import WINDOW_MS, Moment

PAGE = (Path(__file__).parents[3] / "docs/incidents.md").read_text()


def first_column(heading: str) -> list[str]:
    """Return what the first table under a heading lists in code."""
    [section] = re.findall(
        rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_every_field_of_a_message_is_documented_in_its_order() -> None:
    documented = first_column("The timeline, and the topic `incidents`")
    assert documented == list(TimelineEntry.__struct_fields__)


def test_every_moment_is_documented() -> None:
    moments = {moment.value for moment in Moment} - {Moment.WENT_ON.value} | PERSON_MOMENTS
    assert set(first_column("The life of an incident")) == moments


def test_every_reach_is_documented() -> None:
    assert first_column("Why? `tocsin explain`") == ["reach", *(reach.value for reach in Reach)]


def test_example_is_what_explain_says_of_the_recorded_burst(three_hours: Replays) -> None:
    tables = three_hours["guarded"]["email-worker"]
    [row] = [row for row in tables.incidents.values() if row.window_start_ms == 87 * WINDOW_MS]
    explanation = explain(row, tables.windows.values(), GUARDED)
    assert explanation.agrees
    assert "```\n" + "\n".join(explanation.lines) + "\n```" in PAGE
