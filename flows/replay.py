"""Sends a range of the topic again to another topic: in its order, at its pace, each confirmed."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import Final, NamedTuple, cast

from confluent_kafka import KafkaError, Message
from msgspec import Struct, field

from flows.course import Course
from flows.pace import Pace
from flows.partition_client import consumer_config
from flows.range_reader import RangeReader
from flows.reader import plausible
from flows.replay_target import Place
from flows.shifting import shifted
from flows.topic_range import PartRange, TopicRange
from tocsin.errors import BrokerError
from tocsin.outgoing import ConfirmedProducer, Headers, Outgoing

_CHUNK_RECORDS: Final = 5_000
_CHUNK_BYTES: Final = 16 * 1024 * 1024
_HELD_RECORDS: Final = 20_000
"""What all partitions together have read ahead, besides what their clients have fetched."""
_REQUEST_BYTES: Final = 1_000_000
_MESSAGE_BYTES_MAX: Final = 48 * 1024 * 1024
_POLL_S: Final = 0.1
_NAMED_MAX: Final = 3


class Sent(Struct):
    """What has become of the records so far.

    refused: by why. first_refused: places of some in the topic that was read.
    unconfirmed: they may be in the target all the same. problem: why it ended, if it had to.
    next_offsets: by partition, where one would go on. behind_s: of the pace, at the end.
    """

    confirmed: int = 0
    unconfirmed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    first_refused: list[str] = field(default_factory=list)
    problem: str = ""
    next_offsets: dict[int, int] = field(default_factory=dict)
    behind_s: float = 0.0
    took_s: float = 0.0


class _Arrived(NamedTuple):
    """A record in the order of its arrival, which within a partition never goes back."""

    arrival_ms: int
    partition: int
    message: Message


_Value = Callable[[_Arrived], bytes | None]


def replay(
    source: Place,
    topic_range: TopicRange,
    target: Place,
    pace: Pace,
    course: Course,
    *,
    shift_to_now: bool = False,
) -> Sent:
    """Send the range again; end early where the course does, or a record is not confirmed.

    shift_to_now: move each record's `timestamp` as far as its arrival moves.
    """
    value: _Value = _as_it_was
    if shift_to_now:
        value = _moved_by(pace)
    parts = [part for part in topic_range.parts if part.begin < part.end]
    # What the clients tell is told by what they give.
    config = consumer_config(source.settings, len(parts)) | {"error_cb": _hear_nothing}
    config["client.id"] = "tocsin-replay"
    readers = [RangeReader(config, source.name, p.partition, p.begin, p.end) for p in parts]
    keeps_partition = source.partitions == target.partitions
    sending = _Sending(target, parts, course, value, keeps_partition=keeps_partition)
    begun_s = time.monotonic()
    most = max(_HELD_RECORDS // len(parts), 1)
    try:
        records = merge(*(_arrived(reader, most, course) for reader in readers))
        for due in _due(records, pace, course):
            if not sending.send(due):
                break
            sending.sent.behind_s = -pace.wait_s(due[-1].arrival_ms)
    except BrokerError as error:
        sending.sent.problem = str(error)
    finally:
        for reader in readers:
            reader.close()
    sending.sent.took_s = time.monotonic() - begun_s
    return sending.sent


def _arrived(reader: RangeReader, most: int, course: Course) -> Iterator[_Arrived]:
    latest_ms = 0
    while not (reader.is_over or course.is_over()):
        messages = reader.fetch(most, _POLL_S)
        arrivals = plausible([message.timestamp()[1] for message in messages])
        for arrival_ms, message in zip(arrivals, messages, strict=True):
            latest_ms = max(latest_ms, arrival_ms)
            yield _Arrived(latest_ms, reader.partition, message)


def _due(records: Iterable[_Arrived], pace: Pace, course: Course) -> Iterator[list[_Arrived]]:
    """Yield the records when they are due, as many at once as are."""
    due: list[_Arrived] = []
    size_bytes = 0
    for record in records:
        is_full = len(due) >= _CHUNK_RECORDS or size_bytes >= _CHUNK_BYTES
        if due and (is_full or pace.wait_s(record.arrival_ms) > 0):
            yield due
            due, size_bytes = [], 0
        wait_s = pace.wait_s(record.arrival_ms)
        if wait_s > 0:
            course.stopping.wait(wait_s)
        if course.is_over():
            return
        due.append(record)
        size_bytes += len(record.message)
    if due:
        yield due


class _Sending:
    """Sends records and counts what becomes of them."""

    def __init__(
        self,
        target: Place,
        parts: list[PartRange],
        course: Course,
        value: _Value,
        *,
        keeps_partition: bool,
    ) -> None:
        self.sent = Sent(next_offsets={part.partition: part.begin for part in parts})
        self._keeps_partition = keeps_partition
        self._course = course
        self._value = value
        self._offsets = max(sum(part.end - part.begin for part in parts), 1)
        self._begin = sum(part.begin for part in parts)
        takes_bytes = target.message_bytes_max or _REQUEST_BYTES
        self._producer = ConfirmedProducer(
            target.settings,
            target.name,
            stopping=course.stopping,
            config={
                "client.id": "tocsin-replay",
                # How large a record may be the broker decides, and of it alone: a small one beside
                # it in its request would be refused with it.
                "message.max.bytes": _MESSAGE_BYTES_MAX,
                "batch.size": min(_REQUEST_BYTES, takes_bytes),
            },
        )

    def send(self, records: list[_Arrived]) -> bool:
        """Send records and wait for what becomes of them; tell whether to go on."""
        deliveries = self._producer.deliver([self._outgoing(record) for record in records])
        sent = self.sent
        for record, delivery in zip(records, deliveries, strict=True):
            place = f"{record.partition}:{record.message.offset()}"
            if not delivery.problem:
                sent.confirmed += 1
            elif delivery.is_refused:
                sent.refused[delivery.problem] += 1
                if len(sent.first_refused) < _NAMED_MAX:
                    sent.first_refused.append(place)
            else:
                sent.unconfirmed += 1
                sent.problem = sent.problem or delivery.problem
            if not sent.unconfirmed:
                sent.next_offsets[record.partition] = (record.message.offset() or 0) + 1
        self._course.records += len(records)
        read = sum(sent.next_offsets.values()) - self._begin
        self._course.share = read / self._offsets
        return not sent.unconfirmed

    def _outgoing(self, record: _Arrived) -> Outgoing:
        message = record.message
        return Outgoing(
            message.key(),
            self._value(record),
            cast("Headers", message.headers() or ()),
            record.partition if self._keeps_partition else -1,
        )


def _as_it_was(record: _Arrived) -> bytes | None:
    return record.message.value()


def _moved_by(pace: Pace) -> _Value:
    def moved(record: _Arrived) -> bytes | None:
        value = record.message.value()
        return None if value is None else shifted(value, pace.shift_ms(record.arrival_ms))

    return moved


def _hear_nothing(_error: KafkaError) -> None:
    """Keep what a client meets on its way out of the terminal."""
