"""Rows and positions move together: each record is stored once, whatever comes again."""

from collections.abc import Iterator, Sequence

import psycopg
import pytest

from sql import writer
from sql.connect import connect
from sql.log_writer import LogWriter
from tocsin.batches import DeadLetter, RecordBatch
from tocsin.errors import PositionMoved


class Announced(list[DeadLetter]):
    """A list in the place of the topic of dead letters."""

    def announce(self, letters: Sequence[DeadLetter]) -> None:
        self.extend(letters)


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url, name="test") as connection:
        writer.incarnation_of(connection, "topic-id", "logs")
        connection.commit()
        yield connection


def batch_of(offsets: range, *, partition: int = 0, messages: Sequence[str] = ()) -> RecordBatch:
    count = len(offsets)
    return RecordBatch(
        incarnation=1,
        partition=partition,
        next_offset=offsets.stop,
        event_us=[1_772_434_800_000_000 + offset for offset in offsets],
        service_id=["checkout"] * count,
        level=["ERROR"] * count,
        message=list(messages) or ["m"] * count,
        metadata=['{"a": 1}', None] * (count // 2) + [None] * (count % 2),
        id=[None] * count,
        arrival_ms=[1_772_434_800_123] * count,
        offset=list(offsets),
        dead_letters=[],
    )


def stored(conn: psycopg.Connection) -> list[tuple[int, int]]:
    query = 'SELECT partition, "offset" FROM logs ORDER BY 1, 2'
    return [(partition, offset) for partition, offset in conn.execute(query)]


def test_batch_that_comes_again_is_stored_once(conn: psycopg.Connection) -> None:
    log_writer = LogWriter("logs", Announced())
    log_writer.commit(conn, [batch_of(range(10))])
    log_writer.commit(conn, [batch_of(range(10)), batch_of(range(10, 15))])
    assert stored(conn) == [(0, offset) for offset in range(15)]


def test_another_process_goes_on_where_the_database_stands(conn: psycopg.Connection) -> None:
    LogWriter("logs", Announced()).commit(conn, [batch_of(range(10))])
    LogWriter("logs", Announced()).commit(conn, [batch_of(range(4, 20))])
    assert stored(conn) == [(0, offset) for offset in range(20)]


def test_partitions_are_stored_together_and_keep_positions_of_their_own(
    conn: psycopg.Connection,
) -> None:
    log_writer = LogWriter("logs", Announced())
    log_writer.commit(conn, [batch_of(range(3)), batch_of(range(5), partition=1)])
    assert len(stored(conn)) == 8
    positions = [writer.read_position(conn, "logs", 1, partition) for partition in (0, 1, 2)]
    assert positions == [3, 5, None]


def test_two_writers_of_one_partition_are_noticed_and_nothing_doubles(
    conn: psycopg.Connection, database_url: str
) -> None:
    first, second = LogWriter("logs", Announced()), LogWriter("logs", Announced())
    with connect(database_url, name="second") as other:
        first.commit(conn, [batch_of(range(5))])
        second.commit(other, [batch_of(range(5, 8))])
        with pytest.raises(PositionMoved, match="another flow"):
            first.commit(conn, [batch_of(range(5, 8))])
    assert stored(conn) == [(0, offset) for offset in range(8)]


def test_commit_whose_answer_was_lost_is_not_done_again(
    conn: psycopg.Connection, database_url: str
) -> None:
    log_writer = LogWriter("logs", Announced())
    log_writer.commit(conn, [batch_of(range(5))])
    with connect(database_url, name="unheard") as unheard:
        LogWriter("logs", Announced()).commit(unheard, [batch_of(range(5, 9))])
    with connect(database_url, name="again") as again:
        log_writer.commit(again, [batch_of(range(5, 9))])
        log_writer.commit(again, [batch_of(range(9, 12))])
    assert stored(conn) == [(0, offset) for offset in range(12)]


def test_database_that_went_back_in_time_is_noticed(
    conn: psycopg.Connection, database_url: str
) -> None:
    log_writer = LogWriter("logs", Announced())
    log_writer.commit(conn, [batch_of(range(5))])
    conn.execute("UPDATE positions SET next_offset = 2")
    conn.commit()
    with connect(database_url, name="again") as again, pytest.raises(PositionMoved, match="stood"):
        log_writer.commit(again, [batch_of(range(5, 9))])


@pytest.mark.parametrize("bad", [{0}, {6}, {0, 3, 6}, set(range(7))])
def test_rows_that_the_database_refuses_are_put_aside_alone(
    conn: psycopg.Connection, bad: set[int]
) -> None:
    conn.execute("DROP SCHEMA scoped CASCADE")
    conn.execute("ALTER TABLE logs ALTER message TYPE varchar(8)")
    announced = Announced()
    messages = ["far too long" if offset in bad else "fits" for offset in range(7)]
    LogWriter("logs", announced).commit(conn, [batch_of(range(7), messages=messages)])
    assert stored(conn) == [(0, offset) for offset in range(7) if offset not in bad]
    kept = conn.execute('SELECT "offset", reason, raw FROM dead_letters ORDER BY 1').fetchall()
    assert {offset for offset, _, _ in kept} == bad == {letter.offset for letter in announced}
    assert all("too long" in reason and b"far too long" in raw for _, reason, raw in kept)


def test_every_text_comes_back_as_it_was(conn: psycopg.Connection) -> None:
    texts = ["", "\\N", '"', 'a,"b"', "line\nbreak\r\n", "\\.", "snow \u2603", "tab\t", " "]
    LogWriter("logs", Announced()).commit(conn, [batch_of(range(len(texts)), messages=texts)])
    rows = conn.execute('SELECT message, metadata, id FROM logs ORDER BY "offset"').fetchall()
    assert [message for message, _, _ in rows] == texts
    assert [metadata for _, metadata, _ in rows] == [{"a": 1}, None] * 4 + [None]
    assert {id_ for _, _, id_ in rows} == {None}


def test_times_of_every_year_come_back_to_the_microsecond(conn: psycopg.Connection) -> None:
    batch = batch_of(range(3))
    batch.event_us = [-62_135_510_400_000_000, -1, 253_402_214_399_999_999]
    LogWriter("logs", Announced()).commit(conn, [batch])
    query = "SELECT (extract(epoch FROM timestamp) * 1000000)::bigint FROM logs ORDER BY 1"
    assert [us for (us,) in conn.execute(query)] == batch.event_us
