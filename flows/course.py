"""How far a backtest has come: written by its source, read by its steps and by whoever watches."""

import threading
from collections.abc import Callable
from typing import TypeVar

from tocsin.errors import TocsinError
from tocsin.signals import unless_stopped

T = TypeVar("T")


class Course:
    """The course of one backtest.

    begin_ms: of the scored range, in arrivals; None before it is known.
    stopping: when set, it ends with what it has. has_ended_early: it did.
    waited_for: the server that has to answer before anything is read, while it is asked.
    failure: for what the source had to end. Raised within the dataflow, it would not be told in
        one line.
    share: how much of what there is to read has been read, from 0 to 1. records: read so far.
    scored_from: offset of the first record of each partition that belongs to the scored range.
    reached_ms: arrival of the last record of each partition. until_ms: an arrival that time has
        gone on to where nothing more has come; None: to each partition's last record.
    """

    def __init__(self) -> None:
        self.begin_ms: int | None = None
        self.stopping = threading.Event()
        self.has_ended_early = False
        self.waited_for: str | None = None
        self.failure: TocsinError | None = None
        self.share = 0.0
        self.records = 0
        self.scored_from: dict[int, int] = {}
        self.reached_ms: dict[int, int] = {}
        self.until_ms: int | None = None

    def ask(self, server: str, question: Callable[[], T]) -> T:
        """Return a server's answer. Raises KeyboardInterrupt where it is stopped before that."""
        self.waited_for = server
        try:
            return unless_stopped(question, self.stopping)
        finally:
            self.waited_for = None

    def is_over(self) -> bool:
        """Tell whether a source has to end before it has read all."""
        if self.stopping.is_set():
            self.has_ended_early = True
        return self.has_ended_early or self.failure is not None

    def is_scored(self, partition: int, offset: int) -> bool:
        """Tell whether a record belongs to the scored range."""
        first = self.scored_from.get(partition)
        return first is not None and offset >= first

    def end_ms(self, partition: int) -> int | None:
        """Return an arrival that a partition's silent services are told in the end, if any."""
        if self.has_ended_early:
            return None
        reached_ms = self.reached_ms.get(partition)
        # The last record may have come since the time was read that nothing more had come until.
        known = [at_ms for at_ms in (reached_ms, self.until_ms) if at_ms is not None]
        return max(known, default=None)

    @property
    def end_of_range_ms(self) -> int:
        """Where it ended: of what ended early, up to where every partition has come."""
        reached = self.reached_ms.values()
        if self.has_ended_early:
            return min(reached, default=0) + 1
        return max(max(reached, default=0) + 1, self.until_ms or 0)
