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

    A ring's numbers are as wide as its largest one so far asks for, 8, 16, 32 or 64 bits: enough
    for 2^28 errors a window. Most counts are small, and every service has a history.
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
        self._errors = _zeros("B", span)
        self._total = _zeros("B", kept)
        self._late_errors = _zeros("B", kept)
        self._late_total = _zeros("B", kept)
        self._marks = bytearray(kept)
        self._guarded_n = _zeros("B", kept)
        self._guarded_errors = _zeros("B", kept)
        self._guarded_squares = _zeros("B", kept)
        self._guarded_records = _zeros("B", kept)

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
        n, guarded_errors, squares, records = guarded or (0, 0, 0, 0)
        try:
            self._errors[window % self.span] = errors
            self._total[slot] = total
            self._guarded_n[slot] = n
            self._guarded_errors[slot] = guarded_errors
            self._guarded_squares[slot] = squares
            self._guarded_records[slot] = records
        except OverflowError:
            self._errors = _fit(self._errors, errors)
            self._total = _fit(self._total, total)
            self._guarded_n = _fit(self._guarded_n, n)
            self._guarded_errors = _fit(self._guarded_errors, guarded_errors)
            self._guarded_squares = _fit(self._guarded_squares, squares)
            self._guarded_records = _fit(self._guarded_records, records)
            self.close(window, errors, total, guarded, marks)
        self._late_errors[slot] = self._late_total[slot] = 0
        self._marks[slot] = marks
        self.changed.add(window)

    def add_late(self, window: int, errors: int, total: int) -> None:
        """Count late records of a kept window."""
        slot = window % self.kept
        self._late_errors = _fit(self._late_errors, self._late_errors[slot] + errors)
        self._late_errors[slot] += errors
        self._late_total = _fit(self._late_total, self._late_total[slot] + total)
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
        errors = _zeros(self._errors.typecode, span)
        for window in range(newest - min(span, self.span) + 1, newest + 1):
            errors[window % span] = self._errors[window % self.span]
        self._errors, self.span = errors, span

    def columns(self) -> tuple[bytes, ...]:
        """Return all rings as bytes, each number as narrow as its ring's largest one allows.

        Of a ring of zeros, as most services have several, only its type is left.
        """
        rings = (
            self._errors,
            self._total,
            self._late_errors,
            self._late_total,
            self._guarded_n,
            self._guarded_errors,
            self._guarded_squares,
            self._guarded_records,
        )
        return (*map(_pack, rings), bytes(self._marks))

    @classmethod
    def from_columns(cls, kept: int, span: int, columns: tuple[bytes, ...]) -> "History":
        """Return the history whose `columns` these are."""
        history = cls(kept, span)
        (
            history._errors,
            history._total,
            history._late_errors,
            history._late_total,
            history._guarded_n,
            history._guarded_errors,
            history._guarded_squares,
            history._guarded_records,
        ) = map(_unpack, columns[:-1], (span, *[kept] * (len(columns) - 2)))
        history._marks[:] = columns[-1]
        return history


def _zeros(typecode: str, length: int) -> "array[int]":
    return array(typecode, bytes(length * array(typecode).itemsize))


def _fit(ring: "array[int]", number: int) -> "array[int]":
    """Return a ring that a number fits into: this one, or a wider copy."""
    return ring if number >> 8 * ring.itemsize == 0 else array(_typecode(number), ring)


def _pack(ring: "array[int]") -> bytes:
    largest = max(ring)
    typecode = _typecode(largest)
    narrow = ring if typecode == ring.typecode else array(typecode, ring)
    return typecode.encode() + (narrow.tobytes() if largest else b"")


def _unpack(packed: bytes, length: int) -> "array[int]":
    typecode = chr(packed[0])
    return array(typecode, packed[1:]) if packed[1:] else _zeros(typecode, length)


def _typecode(number: int) -> str:
    return next(code for code, bits in _WIDTHS if number.bit_length() <= bits)
