"""The detector's rows back from what the database keeps of them."""

import msgspec
from msgspec import Struct

from flows.rows import IncidentRow, WindowRow


class _Titled(Struct, frozen=True):
    title: str


def window_row(stored: object) -> WindowRow:
    """Return the row of which these are the columns: attributes of the same names."""
    return msgspec.convert(stored, WindowRow, from_attributes=True)


def incident_row(stored: object) -> IncidentRow:
    """Return the row of which these are the columns: attributes of the same names.

    What people did to the incident is not among them.
    """
    return msgspec.convert(stored, IncidentRow, from_attributes=True)


def title_of(stored: object) -> str:
    """Return the title that an incident has in the database."""
    return msgspec.convert(stored, _Titled, from_attributes=True).title
