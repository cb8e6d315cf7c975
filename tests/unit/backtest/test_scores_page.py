"""What docs/backtesting.md says of scores is so: its columns, its options, its example."""

import json
import os
import re
import subprocess
import sys
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


def test_night_that_is_made_to_try_it_is_as_told(tmp_path: Path) -> None:
    scripts = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    [script] = [one for one in scripts if "> night.ndjson" in one]
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = ["bash", "-euo", "pipefail", "-c", f"{script.rstrip()} --json out.json"]
    subprocess.run(words, cwd=tmp_path, env=environ, check=True, capture_output=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["source"], found["late"], found["services"]) == ("night.ndjson", 0, 3)
    told = {
        row["candidate"]: (row["incidents"], row["false"], row["hits"])
        for row in found["scores"]
        if row["view"] == "confirmed" and row["service"] is None
    }
    assert told["default"] == (4, 3, 1)
    assert told["min-count=50 for nightly-*"] == (1, 0, 1)
    assert (tmp_path / "import.html").stat().st_size > 1_000_000


def test_options_are_those_of_the_command() -> None:
    for value in Unlabelled:
        assert f"`--unlabelled {value.value}`" in PAGE
