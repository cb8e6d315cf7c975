"""What is normal: rolling sums over the windows before the one under test, in exact integers.

The baseline of a window `w` ends at `w - 2`. When `w` opens, every window up to `w - 2` is closed,
so the baseline is final before the first record of `w`, and `w` is never in it.

    mean = S / n,   sigma = sqrt(n Q - S^2) / n

over n windows with c errors each, S = sum(c), Q = sum(c^2): the population's standard deviation,
by its integer identity, which cannot cancel as the float one does.
"""

import math
from typing import NamedTuple

from flows.history import History


class Baseline(NamedTuple):
    """Plain baseline: the last windows, whatever happened in them.

    n: windows. errors: S, the sum of their errors. squares: Q, the sum of the squares.
    """

    n: int
    errors: int
    squares: int

    @property
    def spread(self) -> int:
        """V = n Q - S^2, the variance times n^2.

        >>> Baseline(n=3, errors=6, squares=14).spread
        6
        """
        return self.n * self.squares - self.errors * self.errors

    @property
    def mean(self) -> float | None:
        """Mean errors a window; None without windows."""
        return self.errors / self.n if self.n else None

    @property
    def sigma(self) -> float | None:
        """Standard deviation of the errors of a window; None without windows."""
        return math.sqrt(self.spread) / self.n if self.n else None


class GuardedBaseline(NamedTuple):
    """Guarded baseline: the last windows that neither an incident nor a silence takes out.

    n, errors, squares: as in `Baseline`. records: L, the sum of the windows' records of any level.
    """

    n: int
    errors: int
    squares: int
    records: int

    @property
    def spread(self) -> int:
        """V' = max(n Q - S^2, n S): sigma is at least that of a Poisson count, sqrt(mean).

        >>> GuardedBaseline(n=3, errors=6, squares=14, records=60).spread
        18
        """
        return max(self.n * self.squares - self.errors * self.errors, self.n * self.errors)

    @property
    def mean(self) -> float | None:
        """Mean errors a window; None without windows."""
        return self.errors / self.n if self.n else None

    @property
    def sigma(self) -> float | None:
        """Standard deviation of the errors of a window, with its floor; None without windows."""
        return math.sqrt(self.spread) / self.n if self.n else None


def plain_baseline(history: History, window: int, first: int, width: int) -> Baseline:
    """Sum up the windows `max(first, window - 1 - width) .. window - 2`."""
    counts = history.errors_between(max(first, window - 1 - width), window - 2)
    return Baseline(len(counts), sum(counts), sum(count * count for count in counts))


class RollingPlain:
    """Plain baselines of windows that open one after the other, each in constant time."""

    __slots__ = ("_baseline", "_width", "_window")

    def __init__(self) -> None:
        self._window: int | None = None
        self._width = 0
        self._baseline = Baseline(0, 0, 0)

    def slide(self, history: History, window: int, first: int, width: int) -> Baseline:
        """Return the baseline of a window whose predecessors up to `window - 2` are closed."""
        if self._window == window - 1 and self._width == width:
            self._baseline = self._step(history, window, first)
        else:
            self._baseline = plain_baseline(history, window, first, width)
        self._window, self._width = window, width
        return self._baseline

    def _step(self, history: History, window: int, first: int) -> Baseline:
        n, errors, squares = self._baseline
        joins, leaves = window - 2, window - 2 - self._width
        if joins >= first:
            count = history.errors_of(joins)
            n, errors, squares = n + 1, errors + count, squares + count * count
        if leaves >= first:
            count = history.errors_of(leaves)
            n, errors, squares = n - 1, errors - count, squares - count * count
        return Baseline(n, errors, squares)


class RollingGuarded:
    """Guarded baselines of windows that open one after the other, in amortised constant time.

    Its members are the windows from `_oldest` to the newest closed one that no mark leaves out.
    Whoever changes the mark of a window other than the one just closed calls `forget`.
    """

    __slots__ = (
        "_errors",
        "_lookback",
        "_n",
        "_oldest",
        "_records",
        "_squares",
        "_width",
        "_window",
    )

    def __init__(self) -> None:
        self._window: int | None = None
        self._width = self._lookback = 0
        self._oldest = 0
        self._n = self._errors = self._squares = self._records = 0

    def forget(self) -> None:
        """Count the next window's baseline from scratch."""
        self._window = None

    def slide(
        self, history: History, window: int, first: int, width: int, lookback: int
    ) -> GuardedBaseline:
        """Return the baseline of a window, whose predecessors up to `window - 2` are closed.

        It is made of the newest `width` windows among `max(first, window - lookback) ..
        window - 2` that are not left out now.
        """
        floor = max(first, window - lookback)
        if self._window == window - 1 and (self._width, self._lookback) == (width, lookback):
            if window - 2 >= first and not history.left_out(window - 2):
                self._add(history, window - 2, 1)
            self._drop(history, floor, window - 1)
        else:
            self._width, self._lookback = width, lookback
            self._recount(history, floor, window - 1)
        self._window = window
        return GuardedBaseline(self._n, self._errors, self._squares, self._records)

    def _drop(self, history: History, floor: int, end: int) -> None:
        while self._oldest < end and (self._oldest < floor or self._n > self._width):
            if not history.left_out(self._oldest):
                self._add(history, self._oldest, -1)
            self._oldest += 1

    def _recount(self, history: History, floor: int, end: int) -> None:
        self._oldest = end
        self._n = self._errors = self._squares = self._records = 0
        while self._oldest > floor and self._n < self._width:
            self._oldest -= 1
            if not history.left_out(self._oldest):
                self._add(history, self._oldest, 1)

    def _add(self, history: History, window: int, sign: int) -> None:
        count = history.errors_of(window)
        self._n += sign
        self._errors += sign * count
        self._squares += sign * count * count
        self._records += sign * history.total_of(window)
