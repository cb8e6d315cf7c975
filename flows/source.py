"""Bytewax source: the partitions of the topic, each where it is read on after a start."""

import threading
from collections.abc import Callable, Iterable

from bytewax.inputs import FixedPartitionedSource

from flows.reader import PartitionReader, Position
from flows.room import Room
from flows.watch import TopicWatch
from tocsin.batches import RawBatch
from tocsin.errors import RecoveryAhead
from tocsin.settings import Settings


class TopicSource(FixedPartitionedSource[RawBatch, Position]):
    """Every partition of the topic, each read by a consumer of its own.

    stored_offset: how far a partition is stored in the database, for a check on recovery.
    first_offset: where a partition is read from that recovery knows nothing of; None: from its
        beginning.
    room: where what is read has to find room.
    stopping: when set, every partition ends, and with them the dataflow; likewise when the watch
        finds that the topic was made again or has grown.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        incarnation: int,
        partitions: Iterable[int],
        stored_offset: Callable[[int], int | None],
        first_offset: Callable[[int], int | None],
        room: Room,
        stopping: threading.Event,
        watch: TopicWatch,
    ) -> None:
        self._settings = settings
        self._incarnation = incarnation
        self._partitions = list(partitions)
        self._stored_offset = stored_offset
        self._first_offset = first_offset
        self.has_begun = False
        self._room = room
        self._stopping = stopping
        self._watch = watch

    def list_parts(self) -> list[str]:
        """Name the partitions so that their names sort as their numbers do."""
        return [part_name(partition) for partition in self._partitions]

    def build_part(
        self, step_id: str, for_part: str, resume_state: Position | None
    ) -> PartitionReader:
        """Read on where recovery stands, or the rows do, or from the topic's beginning."""
        partition = int(for_part)
        start = resume_state
        if start is None or start.incarnation != self._incarnation:
            start = self._position_of_rows(partition)
        handed_out = start.handed_out if start is not None else None
        stored = self._stored_offset(partition) or 0
        if handed_out is not None and stored < handed_out:
            raise RecoveryAhead(
                f"recovery stands at offset {handed_out} of partition {partition}, the database "
                f"at {stored}: it was restored from a backup"
            )
        return PartitionReader(
            self._settings,
            self._incarnation,
            partition,
            len(self._partitions),
            start,
            self._room,
            self._stopping,
            self._watch,
            self._begin,
        )

    def _begin(self) -> None:
        self.has_begun = True

    def _position_of_rows(self, partition: int) -> Position | None:
        next_offset = self._first_offset(partition)
        return None if next_offset is None else Position(self._incarnation, next_offset, None)


def part_name(partition: int) -> str:
    """Return a partition's name in the dataflow."""
    return f"{partition:06d}"
