"""What a service keeps of its closed windows: counts, guarded baselines and marks, in rings."""

from array import array
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, TypeAlias

FLAGGED: Final = 1
"""Part of a confirmed incident: no guarded baseline learns from it."""
UNKNOWN: Final = 2
"""Part of a silence of a service that usually speaks: no guarded baseline learns from it."""
BREACHED: Final = 4
FIRED: Final = 8

_LEFT_OUT: Final = FLAGGED | UNKNOWN
_WIDTHS: Final = (("B", 8), ("H", 16), ("I", 32), ("Q", 64))
_HEAD: Final = Struct("<cI")

_RINGS: Final = (
    "_errors",
    "_total",
    "_late_errors",
    "_late_total",
    "_guarded_n",
    "_guarded_errors",
    "_guarded_squares",
    "_guarded_records",
    "_marks",
)
"""In the order of a snapshot's columns."""

_Ring: TypeAlias = "array[int] | bytes"
"""Numbers; as bytes they are all zero, and shared by every ring of that length."""


class History:
    """The closed windows of one service, as rings indexed by `window % length`.

    kept: windows, up to the clock's, of which everything is kept.
    span: windows of which at least the errors are kept, for the plain baselines of the kept ones.
    changed: windows, open ones too, whose row has changed since it was last built.

    A ring's numbers are as wide as its largest one so far asks for, 8, 16, 32 or 64 bits: enough
    for 2^28 errors a window. Most counts are small, many rings have never held anything but zeros,
    and every service has a history.
    """

    __slots__ = (*_RINGS, "changed", "kept", "span")

    def __init__(self, kept: int, span: int) -> None:
        self.kept = kept
        self.span = span
        self.changed: set[int] = set()
        self._errors: _Ring = _zeros(span)
        self._total: _Ring = _zeros(kept)
        self._late_errors: _Ring = _zeros(kept)
        self._late_total: _Ring = _zeros(kept)
        self._marks: _Ring = _zeros(kept)
        self._guarded_n: _Ring = _zeros(kept)
        self._guarded_errors: _Ring = _zeros(kept)
        self._guarded_squares: _Ring = _zeros(kept)
        self._guarded_records: _Ring = _zeros(kept)

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
        self._errors = _put(self._errors, window % self.span, errors)
        self._total = _put(self._total, slot, total)
        self._guarded_n = _put(self._guarded_n, slot, n)
        self._guarded_errors = _put(self._guarded_errors, slot, guarded_errors)
        self._guarded_squares = _put(self._guarded_squares, slot, squares)
        self._guarded_records = _put(self._guarded_records, slot, records)
        self._late_errors = _put(self._late_errors, slot, 0)
        self._late_total = _put(self._late_total, slot, 0)
        self._marks = _put(self._marks, slot, marks)
        self.changed.add(window)

    def add_late(self, window: int, errors: int, total: int) -> None:
        """Count late records of a kept window."""
        slot = window % self.kept
        self._late_errors = _put(self._late_errors, slot, self._late_errors[slot] + errors)
        self._late_total = _put(self._late_total, slot, self._late_total[slot] + total)
        self.changed.add(window)

    def mark(self, window: int, mark: int) -> None:
        """Set FLAGGED or UNKNOWN on a kept window."""
        slot = window % self.kept
        self._marks = _put(self._marks, slot, self._marks[slot] | mark)
        self.changed.add(window)

    def unmark(self, window: int, mark: int) -> None:
        """Take FLAGGED or UNKNOWN from a kept window."""
        slot = window % self.kept
        if self._marks[slot] & mark:
            self._marks = _put(self._marks, slot, self._marks[slot] & ~mark)
            self.changed.add(window)

    def widen(self, span: int, newest: int) -> None:
        """Keep the errors of more windows from now on; `newest` is the newest closed one."""
        errors: _Ring = _zeros(span)
        for window in range(newest - min(span, self.span) + 1, newest + 1):
            errors = _put(errors, window % span, self._errors[window % self.span])
        self._errors, self.span = errors, span

    def columns(self) -> tuple[bytes, ...]:
        """Return all rings as bytes, each number as narrow as its ring's largest one allows.

        The zeros before the first and after the last number are left out: of a service that is not
        three hours old they are most of a ring, and many rings have never held anything else.
        """
        return tuple(_pack(getattr(self, name)) for name in _RINGS)

    @classmethod
    def from_columns(cls, kept: int, span: int, columns: tuple[bytes, ...]) -> "History":
        """Return the history whose `columns` these are."""
        history = cls(kept, span)
        for name, packed in zip(_RINGS, columns, strict=True):
            setattr(history, name, _unpack(packed, span if name == "_errors" else kept))
        return history


def unpack_marks(columns: tuple[bytes, ...], kept: int) -> Sequence[int]:
    """Return the marks of a history whose `columns` these are, by `window % kept`."""
    return _unpack(columns[_RINGS.index("_marks")], kept)


@lru_cache
def _zeros(length: int) -> bytes:
    return bytes(length)


def _put(ring: _Ring, slot: int, number: int) -> _Ring:
    """Put a number into a ring; return that ring, or what takes its place: wider, or not shared."""
    if isinstance(ring, bytes):
        if not number:
            return ring
        ring = array(_typecode(number), [0]) * len(ring)
    elif number >> 8 * ring.itemsize:
        ring = array(_typecode(number), ring)
    ring[slot] = number
    return ring


def _pack(ring: _Ring) -> bytes:
    """Return the numbers' type, the place of the first that is not zero, and them up to the last.

    Of zeros alone nothing is left.
    """
    if isinstance(ring, bytes):
        return b""
    narrow = ring if ring.itemsize == 1 else array(_typecode(max(ring)), ring)
    size, raw = narrow.itemsize, narrow.tobytes()
    end = -(-len(raw.rstrip(b"\0")) // size)
    if not end:
        return b""
    first = (len(raw) - len(raw.lstrip(b"\0"))) // size
    return _HEAD.pack(narrow.typecode.encode(), first) + raw[first * size : end * size]


def _unpack(packed: bytes, length: int) -> _Ring:
    if not packed:
        return _zeros(length)
    typecode, first = _HEAD.unpack_from(packed)
    numbers = array(typecode.decode(), packed[_HEAD.size :])
    ring = array(numbers.typecode, [0]) * length
    ring[first : first + len(numbers)] = numbers
    return ring


def _typecode(number: int) -> str:
    return next(code for code, bits in _WIDTHS if number.bit_length() <= bits)
