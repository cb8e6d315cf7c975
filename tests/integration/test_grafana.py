"""The dashboards of Grafana: every query finds something, as the role that Grafana logs in as."""

import itertools
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
import yaml

from tests.integration.analysts import NOW, fill, freeze
from tests.integration.grafana import FOLDER, Query, Range, dashboards, expanded, queries

COMPOSE = yaml.safe_load((FOLDER.parent / "docker-compose.yml").read_text())["services"]["grafana"]
SIX_HOURS = Range(NOW - timedelta(hours=6), NOW, "30s")
MONTH = Range(NOW - timedelta(days=30), NOW, "1h")
NUMERIC = {"int2", "int4", "int8", "float8", "numeric"}
VARIABLES = {"service": "checkout"}


def provisioned(kind: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        (FOLDER / f"provisioning/{kind}/tocsin.yaml").read_text()
    )
    return content


@pytest.fixture(scope="module")
def analyst(module_database_url: str) -> Iterator[psycopg.Connection]:
    """A connection that may do what the data source's user may."""
    fill(module_database_url)
    [source] = provisioned("datasources")["datasources"]
    with psycopg.connect(module_database_url, autocommit=True) as conn:
        freeze(conn)
        conn.execute(f"set role {source['user']}".encode())
        conn.execute("set default_transaction_read_only = on")
        yield conn


@pytest.mark.parametrize("time", [SIX_HOURS, MONTH], ids=["six-hours", "month"])
@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.place)
def test_every_query_finds_something(
    analyst: psycopg.Connection, query: Query, time: Range
) -> None:
    cursor = analyst.execute(expanded(query.sql, time, VARIABLES).encode())
    rows = cursor.fetchall()
    names = [column.name for column in cursor.description or ()]
    kinds = [psycopg.adapters.types[column.type_code].name for column in cursor.description or ()]
    assert rows
    assert all(value is not None for value in rows[0][:1])
    if query.format == "variable":
        assert kinds == ["text"]
    if query.format == "time_series":
        assert names[0] == "time"
        assert kinds[0] == "timestamptz"
        assert set(kinds[1:]) & NUMERIC
        times: list[datetime] = [row[0] for row in rows]
        assert times == sorted(times)
        assert ("metric" in names) is ("text" in kinds)
    if "annotation" in query.place:
        assert names == ["time", "timeend", "text", "tags"]
        assert all(row[0] < row[1] for row in rows)


def test_service_is_shown_by_the_numbers_that_judged_it(analyst: psycopg.Connection) -> None:
    [query] = [query for query in queries() if "what is expected" in query.place]
    rows = analyst.execute(expanded(query.sql, SIX_HOURS, VARIABLES).encode()).fetchall()
    [outage] = [row for row in rows if row[0] == datetime(2026, 3, 4, 12, tzinfo=NOW.tzinfo)]
    _, errors, expected, lower, upper = outage
    assert (errors, expected, lower) == (60, 0.5, 0)
    assert upper == pytest.approx(0.5 + 3 * 0.5**0.5)


def test_name_of_a_service_cannot_be_more_than_a_name(analyst: psycopg.Connection) -> None:
    nasty = "x'; select 1 / 0; --"
    for query in queries():
        if "${service" in query.sql:
            cursor = analyst.execute(expanded(query.sql, SIX_HOURS, {"service": nasty}).encode())
            assert cursor.fetchall() == []
    assert all("$service" not in query.sql for query in queries())


def test_data_source_logs_in_as_an_analyst_by_a_password_of_the_environment() -> None:
    [source] = provisioned("datasources")["datasources"]
    assert source["user"] == "analyst"
    variable = source["secureJsonData"]["password"].removeprefix("$")
    assert variable in COMPOSE["environment"]
    assert source["jsonData"]["timescaledb"] is True
    used = {
        place["datasource"]["uid"]
        for board in dashboards().values()
        for place in itertools.chain(
            board["panels"], board["annotations"]["list"], board["templating"]["list"]
        )
    }
    assert used == {source["uid"]}


def test_grafana_is_given_the_dashboards_of_this_folder() -> None:
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["volumes"])
    for source in (source for source in mounts if source.startswith("./")):
        assert os.path.isdir(FOLDER.parent / source), source  # noqa: PTH112
    [provider] = provisioned("dashboards")["providers"]
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert COMPOSE["ports"] == ["127.0.0.1:3000:3000"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    boards = dashboards()
    assert sorted(boards) == ["fleet.json", "incidents.json", "service.json"]
    assert len({board["uid"] for board in boards.values()}) == 3
    for board in boards.values():
        panels = board["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [cell for panel in panels for cell in _cells(panel["gridPos"])]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) == 23


def test_links_lead_to_dashboards_that_there_are() -> None:
    uids = {board["uid"] for board in dashboards().values()}
    for path in FOLDER.glob("dashboards/*.json"):
        assert set(re.findall(r"/d/([\w-]+)\?", path.read_text())) <= uids


def _cells(grid: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(grid["x"], grid["x"] + grid["w"]):
        for y in range(grid["y"], grid["y"] + grid["h"]):
            yield x, y
