"""`python -m bench compare A B`: the figures of two sets of results, and their ratios.

A and B name results by how they were kept: a file, a folder, or a commit in `bench/results`. Where
a set has a scenario several times, its figures are medians, and the spread stands beside the ratio.
"""

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.measurement import RESULTS, scenario_column
from stack.errors import StackError

Figures = dict[tuple[str, int, str, str], list[float]]
"""(scenario, size, figure, unit) to what was measured, once for each run."""


def read(name: str) -> Figures:
    """Return all figures of a file, of the files of a folder, or of the runs of a commit."""
    path = Path(name)
    if path.is_dir():
        files = sorted(path.glob("*.json"))
    elif path.is_file():
        files = [path]
    else:
        files = [file for file in sorted(RESULTS.glob("*.json")) if _commit(file).startswith(name)]
    if not files:
        raise StackError(
            f"{name}: no file or folder of results, and {RESULTS} has none of such a commit"
        )
    found: Figures = defaultdict(list)
    for file in files:
        result = _result(file)
        for figure in result["figures"]:
            key = result["scenario"], result["about"]["size"], figure["name"], figure["unit"]
            found[key].append(figure["value"])
    return dict(found)


def table(first: Figures, second: Figures) -> Table:
    """Return a row for each figure that both have: B's by A's, with the least and the greatest.

    Only what was measured at one size is compared.
    """
    rows = Table(scenario_column(), "size", "figure", "A", "B", "B / A", "spread")
    for key in first:
        if key not in second:
            continue
        scenario, size, name, unit = key
        a, b = statistics.median(first[key]), statistics.median(second[key])
        ratios = [two / one for one in first[key] for two in second[key] if one]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else "one run each"
        ratio = f"{b / a:.2f}" if a else "-"
        values = f"{a:,.1f} {unit}", f"{b:,.1f} {unit}"
        rows.add_row(scenario, f"{size:,}", name, *values, ratio, spread)
    if not rows.rows:
        raise StackError("the two have no figure of one size in common")
    return rows


def _commit(file: Path) -> str:
    return str(_result(file)["commit"])


def _result(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError):
        raise StackError(f"{file}: no result of `python -m bench`") from None
