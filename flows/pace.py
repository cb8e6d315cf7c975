"""When a record is sent again: the gaps between arrivals, divided by a speed."""

import re
import time
from collections.abc import Callable
from typing import Final

from tocsin.errors import SettingsError

_SPEED: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)x")


def read_speed(text: str) -> float | None:
    """Read `10x`, `0.5x` or `max`; None is as fast as it goes. Raises SettingsError.

    >>> read_speed("10x")
    10.0
    """
    if text == "max":
        return None
    found = _SPEED.fullmatch(text)
    speed = float(found[1]) if found else 0.0
    if not speed:
        raise SettingsError(f"--speed: {text[:40]!r} is no speed, give one as 1x, 10x, 0.5x or max")
    return speed


class Pace:
    """The pace of one replay: begins with the first record that it is asked about.

    speed: how many times as fast as the records arrived; None: each is due at once.
    clock: seconds, of any beginning. now: seconds since the epoch.
    """

    def __init__(
        self,
        speed: float | None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._now = now
        self._first_ms: int | None = None
        self._begun_s = 0.0
        self._begun_ms = 0

    def wait_s(self, arrival_ms: int) -> float:
        """Return in how many seconds a record is due; below 0 where it is overdue."""
        if self._first_ms is None:
            self._first_ms = arrival_ms
            self._begun_s = self._clock()
            self._begun_ms = round(self._now() * 1000)
        if self._speed is None:
            return 0.0
        return self._due_s(arrival_ms) - (self._clock() - self._begun_s)

    def shift_ms(self, arrival_ms: int) -> int:
        """Return how much later than it arrived a record is due to arrive again."""
        after_s = self._clock() - self._begun_s if self._speed is None else self._due_s(arrival_ms)
        return self._begun_ms + round(after_s * 1000) - arrival_ms

    def _due_s(self, arrival_ms: int) -> float:
        first_ms = arrival_ms if self._first_ms is None else self._first_ms
        return (arrival_ms - first_ms) / 1000 / (self._speed or 1.0)
