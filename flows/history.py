"""What a service keeps of its closed windows: counts, guarded baselines and marks, in rings."""

from array import array
from typing import Final

FLAGGED: Final = 1
"""Part of a confirmed incident: no guarded baseline learns from it."""
UNKNOWN: Final = 2
"""Part of a silence of a service that usually speaks: no guarded baseline learns from it."""
BREACHED: Final = 4
FIRED: Final = 8

_LEFT_OUT: Final = FLAGGED | UNKNOWN
_WIDTHS: Final = (("B", 8), ("H", 16), ("I", 32), ("Q", 64))


class History:
    """The closed windows of one service, as rings indexed by `window % length`.

    kept: windows, up to the clock's, of which everything is kept.
    span: windows of which at least the errors are kept, for the plain baselines of the kept ones.
    changed: windows, open ones too, whose row has changed since it was last built.

    Counts of a window take 32 bits, sums and sums of squares 64: enough for 2^28 errors a window.
    """

    __slots__ = (
        "_errors",
        "_guarded_errors",
        "_guarded_n",
        "_guarded_records",
        "_guarded_squares",
        "_late_errors",
        "_late_total",
        "_marks",
        "_total",
        "changed",
        "kept",
        "span",
    )

    def __init__(self, kept: int, span: int) -> None:
        self.kept = kept
        self.span = span
        self.changed: set[int] = set()
        self._errors = _zeros("I", span)
        self._total = _zeros("I", kept)
        self._late_errors = _zeros("I", kept)
        self._late_total = _zeros("I", kept)
        self._marks = bytearray(kept)
        self._guarded_n = _zeros("H", kept)
        self._guarded_errors = _zeros("Q", kept)
        self._guarded_squares = _zeros("Q", kept)
        self._guarded_records = _zeros("Q", kept)

    def errors_of(self, window: int) -> int:
        """Return a window's errors that came on time."""
        return self._errors[window % self.span]

    def errors_between(self, low: int, high: int) -> list[int]:
        """Return the on-time errors of the windows `low .. high`; none if `high < low`."""
        errors, span = self._errors, self.span
        return [errors[window % span] for window in range(low, high + 1)]

    def total_of(self, window: int) -> int:
        """Return a window's records that came on time."""
        return self._total[window % self.kept]

    def late_of(self, window: int) -> tuple[int, int]:
        """Return a window's late errors and late records."""
        slot = window % self.kept
        return self._late_errors[slot], self._late_total[slot]

    def guarded_of(self, window: int) -> tuple[int, int, int, int]:
        """Return n, S, Q and L of a window's guarded baseline; zeros where it had none."""
        slot = window % self.kept
        return (
            self._guarded_n[slot],
            self._guarded_errors[slot],
            self._guarded_squares[slot],
            self._guarded_records[slot],
        )

    def marks_of(self, window: int) -> int:
        """Return FLAGGED, UNKNOWN, BREACHED and FIRED of a window, or-ed."""
        return self._marks[window % self.kept]

    def left_out(self, window: int) -> bool:
        """Tell whether no guarded baseline that is fixed now learns from a window."""
        return self._marks[window % self.kept] & _LEFT_OUT != 0

    def close(
        self, window: int, errors: int, total: int, guarded: tuple[int, ...] | None, marks: int
    ) -> None:
        """Take in a window that no record can be on time for any more."""
        slot = window % self.kept
        self._errors[window % self.span] = errors
        self._total[slot] = total
        self._late_errors[slot] = self._late_total[slot] = 0
        self._marks[slot] = marks
        (
            self._guarded_n[slot],
            self._guarded_errors[slot],
            self._guarded_squares[slot],
            self._guarded_records[slot],
        ) = guarded or (0, 0, 0, 0)
        self.changed.add(window)

    def add_late(self, window: int, errors: int, total: int) -> None:
        """Count late records of a kept window."""
        slot = window % self.kept
        self._late_errors[slot] += errors
        self._late_total[slot] += total
        self.changed.add(window)

    def mark(self, window: int, mark: int) -> None:
        """Set FLAGGED or UNKNOWN on a kept window."""
        self._marks[window % self.kept] |= mark
        self.changed.add(window)

    def unmark(self, window: int, mark: int) -> None:
        """Take FLAGGED or UNKNOWN from a kept window."""
        if self._marks[window % self.kept] & mark:
            self._marks[window % self.kept] &= ~mark
            self.changed.add(window)

    def widen(self, span: int, newest: int) -> None:
        """Keep the errors of more windows from now on; `newest` is the newest closed one."""
        errors = _zeros("I", span)
        for window in range(newest - min(span, self.span) + 1, newest + 1):
            errors[window % span] = self._errors[window % self.span]
        self._errors, self.span = errors, span

    def columns(self) -> tuple[bytes, ...]:
        """Return all rings as bytes, each number as narrow as its ring's largest one allows."""
        return (*(_pack(ring) for ring in self._rings()), bytes(self._marks))

    @classmethod
    def from_columns(cls, kept: int, span: int, columns: tuple[bytes, ...]) -> "History":
        """Return the history whose `columns` these are."""
        history = cls(kept, span)
        for ring, packed in zip(history._rings(), columns[:-1], strict=True):
            ring[:] = array(ring.typecode, array(chr(packed[0]), packed[1:]))
        history._marks[:] = columns[-1]
        return history

    def _rings(self) -> tuple["array[int]", ...]:
        return (
            self._errors,
            self._total,
            self._late_errors,
            self._late_total,
            self._guarded_n,
            self._guarded_errors,
            self._guarded_squares,
            self._guarded_records,
        )


def _zeros(typecode: str, length: int) -> "array[int]":
    return array(typecode, bytes(length * array(typecode).itemsize))


def _pack(ring: "array[int]") -> bytes:
    bits = max(ring).bit_length()
    typecode = next(code for code, width in _WIDTHS if bits <= width)
    narrow = ring if typecode == ring.typecode else array(typecode, ring)
    return typecode.encode() + narrow.tobytes()
