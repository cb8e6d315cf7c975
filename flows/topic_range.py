"""Which offsets of a topic are read again, for times or offsets that a person has named."""

import re
import time
from collections.abc import Callable, Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from msgspec import Struct

from flows.partition_client import consumer_config
from flows.reader import CLOCK_SKEW_MS
from flows.wording import moment
from tocsin.errors import BrokerError, RangeUnusable, SettingsError
from tocsin.settings import Settings
from tocsin.topics import REQUEST_TIMEOUT_S, describe_topic, unreachable

_OFFSETS = re.compile(r"([0-9]{1,6}):([0-9]{1,18})-([0-9]{1,18})")
_POLL_S = 0.1
_AT_ONCE = 1_000


class Asked(Struct, frozen=True):
    """A range as it was asked for: by arrivals in ms, the end exclusive, or by offsets.

    offsets: (begin, end) by partition; partitions that are not named are not read.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    offsets: Mapping[int, tuple[int, int]] | None = None


class PartRange(Struct, frozen=True):
    """What is read of a partition: from `first` on to get warm, scored from `begin` up to `end`."""

    partition: int
    first: int
    begin: int
    end: int


class TopicRange(Struct, frozen=True):
    """What is read of a topic.

    since_ms: of what arrived from then on, everything is read. until_ms: as in `Course`.
    """

    topic: str
    topic_id: str
    partitions: int
    parts: list[PartRange]
    since_ms: int
    begin_ms: int
    until_ms: int | None


Lost = Callable[[str, int, int, int], int | None]
"""Returns how many records are missing from a time on, if that is known.

Of (topic id, partition, first offset that is left, time in ms).
"""


def read_offsets(text: str) -> dict[int, tuple[int, int]]:
    """Read `0:100-200,1:0-50`, the ends exclusive. Raises SettingsError."""
    offsets: dict[int, tuple[int, int]] = {}
    for part in text.split(","):
        found = _OFFSETS.fullmatch(part.strip())
        if found is None:
            raise SettingsError(
                f"--offsets: {part.strip()[:40]!r} is not PARTITION:BEGIN-END, as 0:1000-2000"
            )
        partition, begin, end = map(int, found.groups())
        if begin >= end:
            raise SettingsError(f"--offsets: {begin}-{end} of partition {partition} has no records")
        if partition in offsets:
            raise SettingsError(f"--offsets: partition {partition} is named twice")
        offsets[partition] = (begin, end)
    return offsets


def nobody_knows(_topic_id: str, _partition: int, _low: int, _from_ms: int, /) -> None:
    """Return nothing: what is missing is known to no database."""


def resolve(
    settings: Settings,
    asked: Asked,
    warm_up_ms: int = 0,
    lost: Lost = nobody_knows,
    remedy: str = "",
) -> TopicRange:
    """Return what is to be read, and from how long before to get warm.

    remedy: what else there is to do where the topic is empty, or retention has cut the range.
    Raises TopicMissing, BrokerError; RangeUnusable for a range without records, and for one that
    retention has cut.
    """
    topic_id, partitions = describe_topic(settings, settings.topic)
    consumer = Consumer(consumer_config(settings, len(partitions)) | {"enable.partition.eof": True})
    try:
        return _Resolving(settings, consumer, asked, lost, topic_id, remedy).resolve(
            list(partitions), warm_up_ms
        )
    except KafkaException as error:
        raise BrokerError(unreachable(settings, error)) from None
    finally:
        consumer.close()


class _Resolving:
    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        asked: Asked,
        lost: Lost,
        topic_id: str,
        remedy: str,
    ) -> None:
        self._topic = settings.topic
        self._topic_id = topic_id
        self._consumer = consumer
        self._asked = asked
        self._lost = lost
        self._remedy = remedy
        self._arrivals: dict[tuple[int, int], int | None] = {}

    def resolve(self, partitions: list[int], warm_up_ms: int) -> TopicRange:
        now_ms = time.time_ns() // 1_000_000 - CLOCK_SKEW_MS
        marks = {part: self._marks(part) for part in partitions}
        ranges = self._ranges(marks)
        begin_ms = self._begin_ms(ranges, marks)
        warm_from = self._offsets_at(begin_ms - warm_up_ms, marks)
        parts = [
            PartRange(part, min(max(warm_from[part], marks[part][0]), begin), begin, end)
            for part, (begin, end) in ranges.items()
        ]
        to_ms = now_ms if self._asked.to_ms is None else min(self._asked.to_ms, now_ms)
        return TopicRange(
            topic=self._topic,
            topic_id=self._topic_id,
            partitions=len(partitions),
            parts=parts,
            since_ms=self._since_ms(parts, marks, begin_ms - warm_up_ms),
            begin_ms=begin_ms,
            until_ms=None if self._asked.offsets is not None else to_ms,
        )

    def _ranges(self, marks: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        asked = self._asked
        if asked.offsets is not None:
            for part, (begin, end) in asked.offsets.items():
                self._check_offsets(part, begin, end, marks)
            return dict(asked.offsets)
        begins = {part: low for part, (low, _) in marks.items()}
        ends = {part: high for part, (_, high) in marks.items()}
        if asked.to_ms is not None:
            ends = self._offsets_at(asked.to_ms, marks)
        if asked.from_ms is not None:
            begins = self._offsets_at(asked.from_ms, marks)
            for part in begins:
                self._check_whole(part, asked.from_ms, marks[part])
        ranges = {part: (begin, max(ends[part], begin)) for part, begin in begins.items()}
        if all(begin == end for begin, end in ranges.values()):
            raise RangeUnusable(self._no_records(marks))
        return ranges

    def _check_offsets(
        self, part: int, begin: int, end: int, marks: dict[int, tuple[int, int]]
    ) -> None:
        if part not in marks:
            raise RangeUnusable(
                f"{self._topic} has no partition {part}: it has {len(marks)}, from 0 on"
            )
        low, high = marks[part]
        if begin < low:
            raise RangeUnusable(
                f"{min(low, end) - begin} records of partition {part} are missing: retention has"
                f" removed what lay before offset {low}"
            )
        if end > high:
            raise RangeUnusable(f"partition {part} ends at offset {high}, not at {end}")

    def _check_whole(self, part: int, from_ms: int, marks: tuple[int, int]) -> None:
        """Raise RangeUnusable if retention has removed the beginning of the range."""
        low, high = marks
        arrival_ms = self._arrival(part, low) if 0 < low < high else None
        if arrival_ms is None or arrival_ms <= from_ms:
            return
        missing = self._lost(self._topic_id, part, low, from_ms)
        if missing == 0:
            return
        count = f"up to {low}" if missing is None else str(missing)
        raise RangeUnusable(
            f"{count} records of partition {part} are missing: retention has removed what arrived"
            f" before {moment(arrival_ms)}; begin there{self._or_else(', or ')}"
        )

    def _or_else(self, before: str) -> str:
        return before + self._remedy if self._remedy else ""

    def _no_records(self, marks: dict[int, tuple[int, int]]) -> str:
        """Say that the range is empty, and what the topic has."""
        filled = [(part, low, high) for part, (low, high) in marks.items() if high > low]
        if not filled:
            return f"{self._topic} has no records at all{self._or_else(': ')}"
        empty = f"{self._topic} has no records in that range"
        first = [self._arrival(part, low) for part, low, _ in filled]
        last = [self._arrival(part, high - 1) for part, _, high in filled]
        known = [at for at in first + last if at is not None]
        if not known:
            return empty
        return f"{empty}: what it has arrived from {moment(min(known))} to {moment(max(known))}"

    def _begin_ms(
        self, ranges: dict[int, tuple[int, int]], marks: dict[int, tuple[int, int]]
    ) -> int:
        if self._asked.from_ms is not None:
            return self._asked.from_ms
        firsts = [
            arrival_ms
            for part, (begin, end) in ranges.items()
            if begin < end and (arrival_ms := self._arrival(part, begin)) is not None
        ]
        if not firsts:
            raise RangeUnusable(self._no_records(marks))
        return min(firsts)

    def _since_ms(
        self, parts: list[PartRange], marks: dict[int, tuple[int, int]], wanted_ms: int
    ) -> int:
        """Return from when on everything is read: later, where retention has cut a partition."""
        cut = [
            self._arrival(part.partition, low)
            for part in parts
            if part.first == (low := marks[part.partition][0]) > 0
        ]
        return max([wanted_ms, *(at for at in cut if at is not None)])

    def _marks(self, part: int) -> tuple[int, int]:
        """Return where a partition begins and ends.

        The light broker names the beginning of the last batch for its end, until that is fetched.
        """
        place = TopicPartition(self._topic, part)
        low, high = self._consumer.get_watermark_offsets(place, timeout=REQUEST_TIMEOUT_S)
        if low < high and self._arrival(part, high - 1) is not None:
            _, fetched = self._consumer.get_watermark_offsets(place, cached=True)
            high = max(high, fetched)
        return low, high

    def _offsets_at(self, at_ms: int, marks: dict[int, tuple[int, int]]) -> dict[int, int]:
        """Return each partition's offset of the first record that arrived then or later."""
        places = [TopicPartition(self._topic, part, max(at_ms, 0)) for part in marks]
        found = self._consumer.offsets_for_times(places, timeout=REQUEST_TIMEOUT_S)
        answered = {place.partition: place.offset for place in found}
        return {
            part: self._first_at(part, at_ms, max(answered[part], low), low, high)
            for part, (low, high) in marks.items()
        }

    def _first_at(self, part: int, at_ms: int, near: int, low: int, high: int) -> int:
        """Return the offset, beginning at the broker's answer, which the light one rounds down."""
        last_ms = self._arrival(part, high - 1) if low < high else None
        if last_ms is None or last_ms < at_ms:
            return high
        for message in self._messages(part, near):
            if message is None:
                return high
            if message.timestamp()[1] >= at_ms:
                return message.offset()  # type: ignore[return-value]  # a message has one
        return high

    def _arrival(self, part: int, offset: int) -> int | None:
        """Return when the record at an offset, or the next one, arrived; None past the end."""
        if (part, offset) not in self._arrivals:
            message = next(self._messages(part, offset))
            self._arrivals[part, offset] = None if message is None else message.timestamp()[1]
        return self._arrivals[part, offset]

    def _messages(self, part: int, offset: int) -> Iterator[Message | None]:
        """Yield what lies from an offset on; None at the end."""
        self._consumer.assign([TopicPartition(self._topic, part, offset)])
        give_up_at = time.monotonic() + REQUEST_TIMEOUT_S
        while time.monotonic() < give_up_at:
            for message in self._consumer.consume(_AT_ONCE, timeout=_POLL_S):
                error = message.error()
                if message.partition() != part:
                    continue
                if error is None:
                    give_up_at = time.monotonic() + REQUEST_TIMEOUT_S
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
                    yield None
        raise BrokerError(f"partition {part} of {self._topic} gives no record: is its leader up?")
