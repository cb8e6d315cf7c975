"""The rows of windows as the database keeps them: each value as it was, none older than another."""

import uuid
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.rows import dict_row

from flows import detection_rows
from flows.known import Place
from flows.rows import WindowRow
from sql import writer
from tests.integration.ledgers import replayed


@pytest.fixture
def row() -> WindowRow:
    """A row of a service of its own."""
    return next(iter(replayed(f"written-{uuid.uuid4()}").windows.values()))


def write(database_url: str, *rows: tuple[Place, WindowRow]) -> list[dict[str, Any]]:
    """Write rows; return what is kept of the first one's service."""
    with psycopg.connect(database_url) as conn, conn.cursor(row_factory=dict_row) as cursor:
        writer.upsert_windows(conn, detection_rows.windows(rows))
        query = "SELECT * FROM error_windows WHERE service_id = %s ORDER BY window_start"
        return cursor.execute(query, [rows[0][1].service_id]).fetchall()


def as_written(place: Place, row: WindowRow) -> dict[str, Any]:
    [written] = detection_rows.windows([(place, row)])
    return written


@pytest.mark.parametrize(
    "changes",
    [
        {},
        # Sums of squares outgrow 64 bits, and offsets the whole numbers that a float holds.
        {"plain_squares": 10**30 + 1, "guarded_records": 2**64 + 1, "offset": 2**63 - 1},
        {"z": 0.1 + 0.2, "guarded_z": 1e-300},
        {"z": None, "guarded_n": None, "guarded_sum": None, "guarded_squares": None},
        {"service_id": "o\"\\'{},ü\U0001f512 " + "x" * 100},
    ],
    ids=["plain", "large", "floats", "none", "name"],
)
def test_row_is_kept_as_it_is(database_url: str, row: WindowRow, changes: dict[str, Any]) -> None:
    row, place = replace(row, **changes), Place(2, 1, 7)
    [kept] = write(database_url, (place, row))
    written = as_written(place, row)
    assert {name: kept[name] for name in written} == written


@pytest.mark.parametrize("age", ["incarnation", "offset", "clock_start"])
def test_row_that_is_older_than_what_is_kept_changes_nothing(
    database_url: str, row: WindowRow, age: str
) -> None:
    place = Place(2, 1, row.offset)
    older = replace(row, errors=row.errors + 1)
    if age == "offset":
        older = replace(older, offset=row.offset - 1)
    elif age == "clock_start":
        older = replace(older, clock_start_ms=row.clock_start_ms - 60_000)
    [first] = write(database_url, (place, row))
    older_place = Place(1, 1, row.offset) if age == "incarnation" else place
    later = replace(row, window_start_ms=row.window_start_ms + 60_000)
    kept = write(database_url, (older_place, older), (place, later))
    assert [found["errors"] for found in kept] == [first["errors"], later.errors]
    [again, _] = write(database_url, (place, replace(row, errors=row.errors + 2)))
    assert again["errors"] == row.errors + 2
