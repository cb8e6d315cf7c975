"""What docs/backtesting.md says of scores is so: its columns, its options, its example."""

import re
from pathlib import Path

from flows.label_files import read_labels
from flows.score_frames import INCIDENTS, LABELS, SCORES
from tocsin.backtests import Unlabelled

PAGE = (Path(__file__).parents[3] / "docs" / "backtesting.md").read_text()


def columns(heading: str) -> list[str]:
    """The names in the first column of the table after a text."""
    table = PAGE[PAGE.index(heading) :].split("\n\n")[1]
    firsts = (line.split("|")[1] for line in table.splitlines()[2:])
    return [name for first in firsts for name in re.findall(r"`(\w+)`", first)]


def test_every_column_of_the_tables_is_told_in_order() -> None:
    assert columns("`scores`: a row for each view") == list(SCORES)
    assert columns("`incidents`: a row for each incident") == list(INCIDENTS)
    assert columns("`labels`: a row for each candidate") == list(LABELS)


def test_example_of_a_file_of_labels_is_one(tmp_path: Path) -> None:
    [example] = re.findall(r"```\n(service,start,end.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "known.csv"
    path.write_text(example)
    labels = read_labels(path)
    assert [label.kind for label in labels.incidents] == ["outage", "step"]
    assert len(labels.ignored) == 1
    header = example.splitlines()[0].split(",")
    assert columns("2026-03-03T06:00:00Z,,,true,") == header


def test_options_are_those_of_the_command() -> None:
    for value in Unlabelled:
        assert f"`--unlabelled {value.value}`" in PAGE
