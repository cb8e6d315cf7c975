"""How much the flow may hold of what it has read and not yet stored: what bounds its memory."""

import threading
from collections.abc import Iterable
from typing import Final

from flows import metrics

ROOM_BYTES: Final = 64 * 1024 * 1024
"""What may be on its way from the topic to the database before the flow stops reading.

Counted as `weight_of` does; what goes over is one poll at most. In the process's memory it is up to
twice as much for a while, as bytes and as columns, or as columns and laid out for COPY, and a
message that has one character outside Latin-1 takes two or four bytes for each of its characters.
"""
_RECORD_BYTES = 400  # what a record takes beside its message, as columns


def weight_of(size_bytes: int, records: int) -> int:
    """Return what so many records take, their messages being of so many bytes."""
    return size_bytes + _RECORD_BYTES * records


class Room:
    """The room between the readers of a process and its log sink, which all of them share.

    Nothing else bounds what piles up between two steps of the dataflow: a worker goes on reading
    while another one, that a step of the same partition runs on, waits for the database.

    What is handed out of a partition takes room until it is committed, if this process stores that
    partition; else nobody would ever give it back.

    stored_here: partitions of which that is known beforehand.
    """

    def __init__(self, stored_here: Iterable[int], *, size: int = ROOM_BYTES) -> None:
        self._stored_here = set(stored_here)
        self._size = size
        self._taken = 0
        self._changing = threading.Lock()
        metrics.ROOM.set(0)

    def stores(self, partition: int) -> None:
        """Know that a partition is stored by this process."""
        self._stored_here.add(partition)

    @property
    def is_full(self) -> bool:
        """Whether a reader has to wait."""
        return self._taken >= self._size

    def take(self, partition: int, weight: int) -> int:
        """Take room and return how much is to be given back."""
        if partition not in self._stored_here:
            return 0
        self._change(weight)
        return weight

    def give_back(self, weight: int) -> None:
        """Give back what a batch took."""
        self._change(-weight)

    def _change(self, weight: int) -> None:
        with self._changing:
            self._taken += weight
            metrics.ROOM.set(self._taken / self._size)
