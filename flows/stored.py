"""The detector's rows back from what the database keeps of them."""

from typing import TypeVar

import msgspec
from msgspec import Struct

from flows.rows import IncidentRow, WindowRow
from flows.wording import minute
from tocsin.detection import WINDOW_MS
from tocsin.errors import Disagreement

Row = TypeVar("Row")


class _Titled(Struct, frozen=True):
    title: str


class _Placed(Struct, frozen=True):
    window_start_ms: int


def window_row(stored: object) -> WindowRow:
    """Return the row of which these are the columns: attributes of the same names.

    Raises Disagreement where no detector can have written them.
    """
    try:
        return msgspec.convert(stored, WindowRow, from_attributes=True)
    except msgspec.ValidationError as error:
        number = msgspec.convert(stored, _Placed, from_attributes=True).window_start_ms // WINDOW_MS
        raise Disagreement(f"window {minute(number)}, {_told(error)}") from None


def incident_row(stored: object) -> IncidentRow:
    """Return the row of which these are the columns: attributes of the same names.

    What people did to the incident is not among them. Raises Disagreement where no detector can
    have written them.
    """
    try:
        return msgspec.convert(stored, IncidentRow, from_attributes=True)
    except msgspec.ValidationError as error:
        raise Disagreement(_told(error)) from None


def title_of(stored: object) -> str:
    """Return the title that an incident has in the database."""
    return msgspec.convert(stored, _Titled, from_attributes=True).title


def _told(error: msgspec.ValidationError) -> str:
    """Name the column first."""
    what, _, where = str(error).partition(" - at `$.")
    return f"{where.rstrip('`')}: {what[0].lower()}{what[1:]}"
