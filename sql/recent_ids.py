"""The ids that a partition's records had lately, as the stored logs know them."""

from datetime import timedelta

import psycopg

from sql.statements import statements
from tocsin.batches import RecordBatch

_SQL = statements("recent_ids")


def read_recent_ids(
    conn: psycopg.Connection, batch: RecordBatch, span: timedelta, *, most: int | None = None
) -> list[tuple[str, str, int]]:
    """Return (service, id, arrival in ms) of what arrived in a span before a batch's first record.

    Of the batch's own partition, the newest `most`, in the order of arrival.
    """
    return conn.execute(
        _SQL["select_recent_ids"],
        {
            "partition": batch.partition,
            "incarnation": batch.incarnation,
            "offset": batch.offset[0],
            "arrival_ms": batch.arrival_ms[0],
            "span": span,
            "most": most,
        },
    ).fetchall()
