"""Incidents in the terms of the golden files, and how they are compared."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from flows.rows import IncidentRow
from tocsin.detection import WINDOW_MS


class Golden(NamedTuple):
    """An incident in the terms of the golden files; windows by number."""

    window: int
    confirmed_window: int | None
    severity: str
    peak_z: float
    resolved_window: int | None
    reason: str | None

    @classmethod
    def of(cls, row: IncidentRow) -> "Golden":
        """Translate a row."""
        return cls(
            row.window_start_ms // WINDOW_MS,
            _number_of(row.confirmed_start_ms),
            row.severity.value,
            round(row.peak_z, 4),
            _number_of(row.resolved_start_ms),
            row.reason and row.reason.value,
        )

    @classmethod
    def expected(cls, fields: dict[str, Any]) -> "Golden":
        """Take the fields of a golden file that are compared."""
        return cls(**{name: fields[name] for name in cls._fields})

    def same_as(self, other: "Golden") -> bool:
        """Exactly the same but for z, which the files round."""
        alike = self._replace(peak_z=0.0) == other._replace(peak_z=0.0)
        return alike and abs(self.peak_z - other.peak_z) <= 1e-3


def assert_same_incidents(got: Iterable[Golden], expected: Iterable[Golden]) -> None:
    got, expected = sorted(got), sorted(expected)
    assert len(got) == len(expected), (got, expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.same_as(theirs), (mine, theirs)


def _number_of(start_ms: int | None) -> int | None:
    return None if start_ms is None else start_ms // WINDOW_MS
