"""`bench compare`: like is held against like, in the order in which it was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import compare
from stack.errors import StackError


def keep(folder: Path, size: int, **figures: float) -> None:
    """Write the result of a run, as `bench` keeps it."""
    folder.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = [
        {"name": name, "value": value, "unit": "ms"} for name, value in figures.items()
    ]
    result = {"scenario": "flow", "commit": "c", "about": {"size": size}, "figures": rows}
    (folder / f"{len(list(folder.iterdir()))}.json").write_text(json.dumps(result))


def compared(a: Path, b: Path) -> list[list[str]]:
    """Return the words of each row."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(compare.table(compare.read(str(a)), compare.read(str(b))))
    return [line.split() for line in capture.get().splitlines() if " flow " in line]


def test_medians_are_compared_in_the_order_of_the_figures(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 9.0):
        keep(tmp_path / "a", 100, p99=value, p50=1.0)
    keep(tmp_path / "b", 100, p99=4.0, p50=1.0)
    first, second = compared(tmp_path / "a", tmp_path / "b")
    assert {"p99", "2.00", "0.44", "4.00"} <= set(first)
    assert {"p50", "1.00"} <= set(second)


def test_runs_of_different_sizes_are_not_compared(tmp_path: Path) -> None:
    keep(tmp_path / "a", 100, p99=1.0)
    keep(tmp_path / "b", 20, p99=1.0)
    with pytest.raises(StackError, match="no figure of one size"):
        compared(tmp_path / "a", tmp_path / "b")
    keep(tmp_path / "b", 100, p99=3.0)
    [row] = compared(tmp_path / "a", tmp_path / "b")
    assert "3.00" in row
