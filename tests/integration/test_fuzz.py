"""What the parser takes, PostgreSQL takes, and gives back as it was."""

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.parse import parse_batch
from sql import writer
from sql.connect import connect
from tests.unit.wires import NOW_MS, RECORDS, WIRES
from tocsin.batches import RawBatch


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url, name="test") as connection:
        yield connection


@given(raws=st.lists(RECORDS | WIRES, min_size=1, max_size=40))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_parser_takes_the_database_takes(
    conn: psycopg.Connection, raws: list[bytes]
) -> None:
    count = len(raws)
    batch = parse_batch(
        RawBatch(
            incarnation=1,
            partition=0,
            next_offset=count,
            key=[None] * count,
            value=list(raws),
            arrival_ms=[NOW_MS] * count,
            offset=list(range(count)),
            read_until_ms=NOW_MS,
        )
    )
    if not len(batch):
        return
    writer.copy_logs(conn, [batch])
    rows = conn.execute('SELECT service_id, level::text, message, id FROM logs ORDER BY "offset"')
    assert rows.fetchall() == list(
        zip(batch.service_id, batch.level, batch.message, batch.id, strict=True)
    )
    conn.rollback()
