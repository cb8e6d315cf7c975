"""What travels from the source to the log sink: records as columns, and what was put aside."""

from msgspec import Struct


class DeadLetter(Struct, frozen=True):
    """A record that breaks the contract, as it came.

    arrival_ms: epoch milliseconds. key: None where the producer gave none.
    """

    partition: int
    offset: int
    arrival_ms: int
    reason: str
    key: bytes | None
    raw: bytes


class RecordBatch(Struct):
    """The records of one poll of one partition: one list a field, all of the same length.

    next_offset: where the partition is read on; past records and dead letters alike.
    event_us: event times, microseconds since the epoch. arrival_ms: milliseconds since the epoch.
    metadata: JSON text or None. id: the producer's own or None.
    dead_letters: what was put aside; in the same batch, for both are stored in one transaction.
    """

    incarnation: int
    partition: int
    next_offset: int
    event_us: list[int]
    service_id: list[str]
    level: list[str]
    message: list[str]
    metadata: list[str | None]
    id: list[str | None]
    arrival_ms: list[int]
    offset: list[int]
    dead_letters: list[DeadLetter]

    def __len__(self) -> int:
        return len(self.offset)

    @classmethod
    def empty(cls, incarnation: int, partition: int, next_offset: int) -> "RecordBatch":
        """Return a batch without records."""
        columns: list[list[object]] = [[] for _ in range(9)]
        return cls(incarnation, partition, next_offset, *columns)  # type: ignore[arg-type]

    def from_offset(self, offset: int) -> "RecordBatch":
        """Return what lies at or past an offset: what a crash left unstored."""
        first = next((i for i, own in enumerate(self.offset) if own >= offset), len(self.offset))
        return RecordBatch(
            self.incarnation,
            self.partition,
            self.next_offset,
            self.event_us[first:],
            self.service_id[first:],
            self.level[first:],
            self.message[first:],
            self.metadata[first:],
            self.id[first:],
            self.arrival_ms[first:],
            self.offset[first:],
            [letter for letter in self.dead_letters if letter.offset >= offset],
        )
