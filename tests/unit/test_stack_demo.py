"""The demonstration tells its steps on any kind of output."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from stack import debian, demo, kafka_jars
from stack.commands import CHECKOUT


def test_steps_are_plain_lines_without_a_terminal() -> None:
    out = StringIO()
    with demo._steps(Console(file=out)) as steps, demo._step(steps, "TimescaleDB") as say:
        assert out.getvalue() == "TimescaleDB\n"
        say("laying out")
        assert out.getvalue() == "TimescaleDB\n  laying out\n"
    assert out.getvalue() == "TimescaleDB\n  laying out\n"


def descriptions() -> list[str]:
    source = Path(CHECKOUT / "stack/demo.py").read_text()
    names = re.findall(r'_step\(steps, f?"([^"]+)"', source)
    assert len(names) > 3
    said = [debian.LAYING_OUT, kafka_jars.FETCHING]
    return [*names, "history of five services: 4,444 records", *said]


@pytest.mark.parametrize("description", descriptions())
def test_step_fits_a_terminal_of_80_columns(description: str) -> None:
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with demo._steps(console) as steps, demo._step(steps, "a step") as say:
        say(description)
        steps.refresh()
    assert description in out.getvalue()
