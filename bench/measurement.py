"""What a scenario gives back, and how it is kept and shown."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from rich.table import Column

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("bytewax", "confluent-kafka", "msgspec", "polars", "psycopg", "sanic")


@dataclass(frozen=True)
class Figure:
    """One measured number and, where there is one, the limit that it is held against.

    share: value / limit, what is quoted; single figures depend on the machine's mood.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""

    @property
    def share(self) -> float | None:
        """How much of the limit was reached."""
        return None if self.limit is None else self.value / self.limit


def scenario_column() -> Column:
    """Return the column of a table that holds scenarios' names; a narrow terminal folds them."""
    return Column("scenario", overflow="fold")


def save(scenario: str, figures: list[Figure], about: Mapping[str, object]) -> Path:
    """Write a result as JSON, with the commit, the versions and the machine; return its path."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(timezone.utc)
    path = RESULTS / f"{now:%Y%m%dT%H%M%S}-{scenario}.json"
    result = {
        "scenario": scenario,
        "at": now.isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "about": dict(about),
        "figures": [{**asdict(figure), "share": figure.share} for figure in figures],
    }
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
