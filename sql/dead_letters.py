"""The dead letters in the database, as people ask for them."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any

import psycopg
from msgspec import Struct, structs

from sql.statements import statements
from tocsin.dead_letters import LetterId, LetterLine, Redrive, StoredLetter
from tocsin.records import RECORD_BYTES_MAX

_SQL = statements("dead_letters")
_FETCH_LETTERS = 250
"""At once in memory, of at most RECORD_BYTES_MAX each."""


class Wanted(Struct, frozen=True):
    """Which letters to list; None leaves a field open.

    reason: a part of it, in any case. key: all of it. since (inclusive), until (exclusive): of
    their arrival, aware.
    """

    reason: str | None = None
    key: bytes | None = None
    since: datetime | None = None
    until: datetime | None = None


class ReasonCount(Struct, frozen=True):
    """How many letters have a reason, how many of them were sent again; arrivals are aware UTC."""

    reason: str
    letters: int
    redriven: int
    first: datetime
    last: datetime


def read_lines(conn: psycopg.Connection, wanted: Wanted, *, limit: int) -> list[LetterLine]:
    """Return the newest letters."""
    rows = conn.execute(_SQL["select_lines"], {**structs.asdict(wanted), "limit": limit})
    return [_line(*row) for row in rows]


def read_summary(conn: psycopg.Connection, wanted: Wanted, *, limit: int) -> list[ReasonCount]:
    """Return the reasons that most letters have."""
    rows = conn.execute(_SQL["select_summary"], {**structs.asdict(wanted), "limit": limit})
    return [ReasonCount(*row) for row in rows]


def count_letters(conn: psycopg.Connection, wanted: Wanted) -> tuple[int, int]:
    """Return how many letters there are, and how many different reasons."""
    [(letters, reasons)] = conn.execute(_SQL["count_letters"], structs.asdict(wanted)).fetchall()
    return int(letters), int(reasons)


def read_letters(conn: psycopg.Connection, ids: Sequence[LetterId]) -> list[StoredLetter]:
    """Return those letters that there are, in the order of their ids."""
    rows = conn.execute(_SQL["select_letters"], columns(ids))
    return [_letter(*row) for row in rows]


def count_unsent(conn: psycopg.Connection, reason: str | None) -> int:
    """Return how many letters `unsent_letters` would yield."""
    [(letters,)] = conn.execute(_SQL["count_unsent"], {"reason": reason}).fetchall()
    return int(letters)


def unsent_letters(
    conn: psycopg.Connection, reason: str | None
) -> Generator[list[StoredLetter], None, None]:
    """Yield the letters that were not sent again, some hundred at once, as of the first moment.

    reason: a part of it, in any case. Needs a connection of its own until the end. Of a record
    that is longer than the contract allows only the beginning is read.
    """
    with conn.transaction(), conn.cursor("unsent") as cursor:
        cursor.execute(_SQL["select_unsent"], {"reason": reason, "bytes": RECORD_BYTES_MAX + 1})
        while rows := cursor.fetchmany(_FETCH_LETTERS):
            yield [_letter(*row) for row in rows]


def columns(ids: Sequence[LetterId]) -> dict[str, list[int]]:
    """Return the ids as the arrays that the statements take."""
    return {
        "incarnations": [letter.incarnation for letter in ids],
        "partitions": [letter.partition for letter in ids],
        "offsets": [letter.offset for letter in ids],
    }


def _line(
    incarnation: int,
    partition: int,
    offset: int,
    topic: str,
    arrival: datetime,
    reason: str,
    key: bytes | None,
    size_bytes: int,
    begun_at: datetime | None,
    *redriven: Any,
) -> LetterLine:
    redrive = None if begun_at is None else Redrive(begun_at, *redriven)
    place = LetterId(incarnation, partition, offset)
    return LetterLine(place, topic, arrival, reason, key, size_bytes, redrive)


def _letter(*row: Any) -> StoredLetter:
    return StoredLetter(_line(*row[:-2]), *row[-2:])
