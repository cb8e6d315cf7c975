"""Bytewax source of a backtest: a range of the topic, read by consumers of its own, that ends."""

import time
from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from flows.course import Course
from flows.reader import POLL_RECORDS, consumer_config, plausible
from flows.source import part_name
from flows.topic_range import PartRange, TopicRange
from tocsin.batches import RawBatch
from tocsin.detection import WINDOW_MS
from tocsin.errors import BrokerError
from tocsin.settings import Settings

_REST = timedelta(milliseconds=2)
_SILENCE_S = 60.0
"""A broker that gives nothing for so long, though there is something, is given up."""


class RangeSource(FixedPartitionedSource[RawBatch, None]):
    """The partitions of a range; no position is kept anywhere."""

    def __init__(
        self, settings: Settings, topic_range: TopicRange, incarnation: int, course: Course
    ) -> None:
        self._settings = settings
        self._range = topic_range
        self._incarnation = incarnation
        self._course = course
        self._parts = {part_name(part.partition): part for part in topic_range.parts}
        self._progress = _Progress(topic_range.parts, course)

    def list_parts(self) -> list[str]:
        """One part a partition."""
        return list(self._parts)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Partition":
        """Read from the partition's first offset on: there is no state to resume."""
        part = self._parts[for_part]
        self._course.scored_from[part.partition] = part.begin
        return _Partition(
            self._settings,
            part,
            self._range.partitions,
            self._incarnation,
            self._course,
            self._progress,
        )


class _Progress:
    """How much of all partitions was read."""

    def __init__(self, parts: list[PartRange], course: Course) -> None:
        self._total = max(sum(part.end - part.first for part in parts), 1)
        self._done = 0
        self._course = course

    def add(self, offsets: int, records: int) -> None:
        self._done += offsets
        self._course.share = self._done / self._total
        self._course.records += records


class _Partition(StatefulSourcePartition[RawBatch, None]):
    def __init__(
        self,
        settings: Settings,
        part: PartRange,
        partitions: int,
        incarnation: int,
        course: Course,
        progress: _Progress,
    ) -> None:
        self._part = part
        self._incarnation = incarnation
        self._course = course
        self._progress = progress
        self._next = part.first
        self._has_begun = False
        self._rests = False
        self._heard_at = time.monotonic()
        config = consumer_config(settings, partitions)
        config |= {"client.id": "tocsin-backtest", "enable.partition.eof": True}
        self._consumer = Consumer(config)
        self._consumer.assign([TopicPartition(settings.topic, part.partition, part.first)])

    def next_batch(self) -> list[RawBatch]:
        """Return what has been fetched, a batch a minute of arrivals at most; end at the end."""
        if not self._has_begun:
            # A tick, so that the services that are known are named before anything else.
            self._has_begun = True
            return [self._batch([], [], [])]
        if self._next >= self._part.end:
            raise StopIteration
        if self._course.is_over():
            raise StopIteration
        messages = self._fetch()
        self._rests = not messages
        if self._rests and time.monotonic() - self._heard_at > _SILENCE_S:
            self._course.failure = BrokerError(
                f"partition {self._part.partition} has given nothing for {_SILENCE_S:.0f} s at"
                f" offset {self._next}: is the broker up?"
            )
        return list(self._batches(messages))

    def next_awake(self) -> datetime | None:
        """Rest for a moment when there was nothing."""
        return datetime.now(timezone.utc) + _REST if self._rests else None

    def snapshot(self) -> None:
        """Return nothing: a backtest is never resumed."""

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _fetch(self) -> list[Message]:
        former = self._next
        messages = self._consumer.consume(POLL_RECORDS, timeout=0)
        told = [message for message in messages if message.error() is not None]
        if told:
            messages = [message for message in messages if message.error() is None]
        for message in told:
            self._hear(message)
        if messages:
            self._heard_at = time.monotonic()
            self._next = max(self._next, messages[-1].offset() + 1)  # type: ignore[operator]
        if self._next >= self._part.end:
            self._next = self._part.end
            messages = [one for one in messages if one.offset() < self._part.end]  # type: ignore[operator]
        self._progress.add(self._next - former, len(messages))
        return messages

    def _hear(self, message: Message) -> None:
        """Take what is no record: the end of the partition, or that its offsets are gone."""
        code = message.error().code()  # type: ignore[union-attr]  # it has one
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
            # What lies before it without a message is a mark of a transaction.
            self._next = max(self._next, message.offset() or 0)
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            self._course.failure = BrokerError(
                f"offset {self._next} of partition {self._part.partition} is not there any"
                " more: retention has removed it while it was to be read"
            )

    def _batches(self, messages: list[Message]) -> Iterator[RawBatch]:
        """Cut what came where the scored range begins, and where a minute does.

        Silent services are told the time once a batch: live they are told it at least so often.
        """
        if not messages:
            return
        arrivals = plausible([message.timestamp()[1] for message in messages])
        self._course.reached_ms[self._part.partition] = arrivals[-1]
        offsets: list[int] = [message.offset() for message in messages]  # type: ignore[misc]
        values = [message.value() for message in messages]
        borders = {0, bisect_left(offsets, self._part.begin), len(messages)}
        if min(arrivals) // WINDOW_MS != max(arrivals) // WINDOW_MS:
            minutes = [arrival_ms // WINDOW_MS for arrival_ms in arrivals]
            borders |= {n for n in range(1, len(minutes)) if minutes[n] != minutes[n - 1]}
        for first, end in pairwise(sorted(borders)):
            yield self._batch(values[first:end], arrivals[first:end], offsets[first:end])

    def _batch(
        self, values: list[bytes | None], arrivals: list[int], offsets: list[int]
    ) -> RawBatch:
        return RawBatch(
            incarnation=self._incarnation,
            partition=self._part.partition,
            next_offset=offsets[-1] + 1 if offsets else self._next,
            key=[None] * len(values),
            value=values,
            arrival_ms=arrivals,
            offset=offsets,
            read_until_ms=arrivals[-1] if arrivals else None,
        )
