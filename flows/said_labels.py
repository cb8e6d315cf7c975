"""Labels from what people have said of incidents in the database."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from flows.labels import LEAD_MS, Interval, Label, Labels
from sql.labels import AnyLabelRow, LabelTable
from sql.reader import Reader, with_reader
from tocsin.detection import IncidentKind
from tocsin.records import EPOCH

FOUND_LEAD_MS: Final = 15 * 60_000
"""How much earlier than an incident was found another setting may find it: nobody knows when it
began."""


def read_said_labels(database_url: str, *, complete: bool = False) -> Labels:
    """Return all labels of errors that people have given.

    Raises StorageError, SchemaOutdated.
    """

    async def read(reader: Reader) -> list[AnyLabelRow]:
        return await LabelTable(reader).all()

    return labels_of(with_reader(database_url, read), complete=complete)


def labels_of(rows: Iterable[AnyLabelRow], *, complete: bool) -> Labels:
    """Return labels as they are scored against; those of silences are left out."""
    about = [row for row in rows if row.kind != IncidentKind.SILENCE.value]
    return Labels(
        incidents=tuple(
            Label(
                id=row.incident_id or f"missed:{row.missed_id}",
                service_id=row.service_id,
                start_ms=_ms(row.started_at),
                end_ms=_ms(row.ended_at),
                lead_ms=FOUND_LEAD_MS if row.is_true else LEAD_MS,
            )
            for row in about
            if row.is_true is not False
        ),
        harmless=tuple(
            Interval(row.service_id, _ms(row.started_at) - FOUND_LEAD_MS, _ms(row.ended_at))
            for row in about
            if row.is_true is False
        ),
        complete=complete,
    )


def _ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)
