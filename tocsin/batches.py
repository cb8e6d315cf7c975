"""What travels from the source to the log sink: a poll's messages, records, dead letters."""

from bisect import bisect_left
from typing import TypeVar

from msgspec import Struct

Cell = TypeVar("Cell")


class RawBatch(Struct):
    """The messages of one poll of one partition: one list a field; without any, it is a tick.

    arrival_ms: the broker's append time, milliseconds since the epoch.
    next_offset: where the partition is read on.
    read_until_ms: every record that arrived before has been read; None where nothing new is known.
    weight: room that it takes in the flow until it is stored.
    """

    incarnation: int
    partition: int
    next_offset: int
    key: list[bytes | None]
    value: list[bytes | None]
    arrival_ms: list[int]
    offset: list[int]
    read_until_ms: int | None
    weight: int = 0

    def rows(self, first: int, end: int) -> "RawBatch":
        """Return the messages from `first` up to `end`; what is said of the whole is left out."""
        return RawBatch(
            self.incarnation,
            self.partition,
            self.next_offset,
            self.key[first:end],
            self.value[first:end],
            self.arrival_ms[first:end],
            self.offset[first:end],
            None,
        )


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
    read_until_ms, weight: as in `RawBatch`. size_bytes: of all its messages as they came,
        repeats included.
    csv: the records as the database takes them, once they are laid out.
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
    read_until_ms: int | None = None
    size_bytes: int = 0
    weight: int = 0
    csv: bytes = b""

    def __len__(self) -> int:
        return len(self.offset)

    @classmethod
    def empty(cls, incarnation: int, partition: int, next_offset: int) -> "RecordBatch":
        """Return a batch without records."""
        columns: list[list[object]] = [[] for _ in range(9)]
        return cls(incarnation, partition, next_offset, *columns)  # type: ignore[arg-type]  # empty

    def from_offset(self, offset: int) -> "RecordBatch":
        """Return what lies at or past an offset: what a crash left unstored."""
        firsts = self.offset[:1] + [letter.offset for letter in self.dead_letters[:1]]
        if min(firsts, default=offset) >= offset:
            return self
        rest = self.rows(bisect_left(self.offset, offset), len(self))
        rest.dead_letters = [letter for letter in self.dead_letters if letter.offset >= offset]
        return rest

    def without(self, left_out: set[int]) -> "RecordBatch":
        """Return the batch without the records at these indices; with its dead letters."""
        kept = [index for index in range(len(self)) if index not in left_out]
        return RecordBatch(
            self.incarnation,
            self.partition,
            self.next_offset,
            _pick(self.event_us, kept),
            _pick(self.service_id, kept),
            _pick(self.level, kept),
            _pick(self.message, kept),
            _pick(self.metadata, kept),
            _pick(self.id, kept),
            _pick(self.arrival_ms, kept),
            _pick(self.offset, kept),
            self.dead_letters,
            self.read_until_ms,
            self.size_bytes,
            self.weight,
        )

    def rows(self, first: int, end: int) -> "RecordBatch":
        """Return the records from `first` up to `end`, without the dead letters."""
        return RecordBatch(
            self.incarnation,
            self.partition,
            self.next_offset,
            self.event_us[first:end],
            self.service_id[first:end],
            self.level[first:end],
            self.message[first:end],
            self.metadata[first:end],
            self.id[first:end],
            self.arrival_ms[first:end],
            self.offset[first:end],
            [],
        )


def _pick(column: list[Cell], indices: list[int]) -> list[Cell]:
    return [column[index] for index in indices]
