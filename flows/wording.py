"""How times, windows and differences are put into words."""

import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from tocsin.detection import WINDOW_MS
from tocsin.records import EPOCH


def start_of(window: int) -> datetime:
    """Return the start of a window."""
    return EPOCH + timedelta(milliseconds=window * WINDOW_MS)


def moment(at_ms: int) -> str:
    """Name a time to the second, in UTC."""
    return f"{EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%dT%H:%M:%SZ}"


def minute(window: int) -> str:
    """Name a window by the minute that it begins with, in UTC.

    >>> minute(29_540_160)
    '2026-03-02 00:00'
    """
    return f"{start_of(window):%Y-%m-%d %H:%M}"


def minute_of(start_ms: int | None) -> str | None:
    """Name the window with this start."""
    return None if start_ms is None else minute(start_ms // WINDOW_MS)


def stretches(windows: Iterable[int]) -> list[list[int]]:
    """Return windows in order, those without a gap between them together.

    >>> stretches([4, 1, 2, 3, 9])
    [[1, 2, 3, 4], [9]]
    """
    numbered = enumerate(sorted(windows))
    groups = itertools.groupby(numbered, key=lambda pair: pair[1] - pair[0])
    return [[window for _, window in group] for _, group in groups]


def span(windows: list[int]) -> str:
    """Name a stretch of windows by its first and its last one, with the date once if it can.

    >>> span([29_540_160, 29_540_161])
    '2026-03-02 00:00 .. 00:01'
    """
    first, last = minute(windows[0]), minute(windows[-1])
    if len(windows) == 1:
        return first
    return f"{first} .. {last.removeprefix(first[:11])}"


def differ(what: str, stored: object, recomputed: object) -> Iterator[str]:
    """Say what differs; nothing where both are equal."""
    if stored != recomputed:
        yield f"{what}: stored {_text(stored)}, recomputed {_text(recomputed)}"


def _text(value: object) -> str:
    return "none" if value is None else str(value)
