"""What Grafana makes of the queries of a dashboard before it asks them."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[2] / "grafana"
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}")
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Query(NamedTuple):
    """A query of a dashboard. format: time_series, table or, of a variable, variable."""

    place: str
    sql: str
    format: str


class Range(NamedTuple):
    """The time that a dashboard shows, and how wide a point of it is."""

    since: datetime
    until: datetime
    interval: str


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by file name."""
    return {path.name: json.loads(path.read_text()) for path in FOLDER.glob("dashboards/*.json")}


def queries() -> Iterator[Query]:
    """Yield every query of every dashboard: of panels, annotations and variables."""
    for name, board in sorted(dashboards().items()):
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield Query(f"{name}: {panel['title']}", target["rawSql"], target["format"])
        for note in board["annotations"]["list"]:
            place = f"{name}: annotation {note['name']}"
            yield Query(place, note["target"]["rawSql"], note["target"]["format"])
        for variable in board["templating"]["list"]:
            yield Query(f"{name}: variable {variable['name']}", variable["query"], "variable")


def expanded(sql: str, time: Range, variables: Mapping[str, str]) -> str:
    """Return a query as the PostgreSQL data source (with TimescaleDB switched on) sends it."""

    def variable(found: re.Match[str]) -> str:
        value = variables[found[1]]
        if found[2] == "sqlstring":
            return "'" + value.replace("'", "''") + "'"
        assert found[2] is None, f"{found[0]}: not a format that is used here"
        return value

    sql = _VARIABLE.sub(variable, sql)
    sql = sql.replace("$__interval_ms", str(round(_seconds(time.interval) * 1000)))
    sql = re.sub(r"\$__interval\b", time.interval, sql)
    sql = _MACRO.sub(lambda found: _macro(found[1], found[2], time), sql)
    assert "$" not in sql, f"not expanded: {sql}"
    return sql


def _macro(name: str, arguments: str, time: Range) -> str:
    parts = [part.strip() for part in arguments.split(",")]
    since, until = (f"'{_rfc3339(at)}'" for at in (time.since, time.until))
    if name == "__timeFilter":
        return f"{parts[0]} BETWEEN {since} AND {until}"
    if name in {"__timeFrom", "__timeTo"}:
        return since if name == "__timeFrom" else until
    if name in {"__timeGroup", "__timeGroupAlias"}:
        group = f"time_bucket('{_seconds(parts[1]):.3f}s',{parts[0]})"
        return f'{group} AS "time"' if name == "__timeGroupAlias" else group
    raise AssertionError(f"${name}: not a macro that is used here")


def _rfc3339(at: datetime) -> str:
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _seconds(interval: str) -> float:
    found = re.fullmatch(r"(\d+)(ms|[smhdw])", interval.strip("'"))
    assert found, f"{interval}: no interval"
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]]).total_seconds()
