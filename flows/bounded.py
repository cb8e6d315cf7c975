"""Bytewax source of a backtest: a range of the topic, read by consumers of its own, that ends."""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Message

from flows.course import Course
from flows.partition_client import consumer_config
from flows.range_reader import RangeReader
from flows.reader import POLL_RECORDS, plausible
from flows.source import part_name
from flows.topic_range import PartRange, TopicRange
from tocsin.batches import RawBatch
from tocsin.detection import WINDOW_MS
from tocsin.errors import BrokerError
from tocsin.settings import Settings

_REST = timedelta(milliseconds=2)


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
        self._has_begun = False
        self._rests = False
        config = consumer_config(settings, partitions) | {"client.id": "tocsin-backtest"}
        self._reader = RangeReader(
            config, settings.topic, part.partition, first=part.first, end=part.end
        )

    def next_batch(self) -> list[RawBatch]:
        """Return what has been fetched, a batch a minute of arrivals at most; end at the end."""
        if not self._has_begun:
            # A tick, so that the services that are known are named before anything else.
            self._has_begun = True
            return [self._batch([], [], [])]
        if self._reader.is_over or self._course.is_over():
            raise StopIteration
        former = self._reader.next_offset
        try:
            messages = self._reader.fetch(POLL_RECORDS)
        except BrokerError as error:
            self._course.failure = error
            raise StopIteration from None
        self._rests = not messages
        self._progress.add(self._reader.next_offset - former, len(messages))
        return list(self._batches(messages))

    def next_awake(self) -> datetime | None:
        """Rest for a moment when there was nothing."""
        return datetime.now(timezone.utc) + _REST if self._rests else None

    def snapshot(self) -> None:
        """Return nothing: a backtest is never resumed."""

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()

    def _batches(self, messages: list[Message]) -> Iterator[RawBatch]:
        """Cut what came where the scored range begins, and where a minute does.

        Silent services are told the time once a batch: live they are told it at least so often.
        """
        if not messages:
            return
        arrivals = plausible([message.timestamp()[1] for message in messages])
        self._course.reached_ms[self._part.partition] = arrivals[-1]
        offsets = [message.offset() or 0 for message in messages]
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
            next_offset=offsets[-1] + 1 if offsets else self._reader.next_offset,
            key=[None] * len(values),
            value=values,
            arrival_ms=arrivals,
            offset=offsets,
            read_until_ms=arrivals[-1] if arrivals else None,
        )
