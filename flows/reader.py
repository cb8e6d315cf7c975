"""A partition of the topic: one poll of it gives one RawBatch with its offsets."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone
from typing import cast

import structlog
from bytewax.inputs import StatefulSourcePartition
from confluent_kafka import KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo
from msgspec import Struct

from flows import metrics
from flows.partition_client import PartitionClient, consumer_config
from flows.room import Room, weight_of
from flows.watch import TopicWatch
from tocsin.batches import RawBatch
from tocsin.errors import BrokerError
from tocsin.settings import Settings
from tocsin.topics import REQUEST_TIMEOUT_S, end_told, unreachable

log = structlog.get_logger()

POLL_RECORDS = 10_000
EPOCH_RECORDS = 500_000
"""What a partition may hand out between two snapshots: within an epoch nothing else stops it."""
_REST = timedelta(milliseconds=2)
_TICK_S = 0.5
"""A partition without messages gives out an empty batch this often: time goes on downstream."""
_END_CHECK_S = 5.0
_PLACE_TIMEOUT_S = 5.0
CLOCK_SKEW_MS = 10_000
"""How far the broker's clock may be behind this machine's."""


class Position(Struct, frozen=True):
    """What recovery keeps of a partition: where it is read on, in that incarnation.

    handed_out: end of the last batch that was given out, None before the first: stored by then.
    """

    incarnation: int
    next_offset: int
    handed_out: int | None


class PartitionReader(StatefulSourcePartition[RawBatch, Position]):
    """One partition of the topic, read in order.

    partitions: how many the topic has; their clients share what may be fetched ahead.
    room: what is handed out must find room in it; where there is none, reading waits.
    """

    def __init__(
        self,
        settings: Settings,
        incarnation: int,
        partition: int,
        partitions: int,
        start: Position | None,
        room: Room,
        stopping: threading.Event,
        watch: TopicWatch,
        begin: Callable[[], None],
    ) -> None:
        self._incarnation = incarnation
        self._partition = partition
        self._room = room
        self._stopping = stopping
        self._watch = watch
        config = consumer_config(settings, partitions)
        self._client = PartitionClient(config, settings.topic, partition)
        self._place = TopicPartition(settings.topic, partition)
        self._next_offset = self._first_offset(
            settings, None if start is None else start.next_offset
        )
        self._handed_out = start.handed_out if start is not None else None
        self._taken = 0
        metrics.LAG.positions[partition] = self._next_offset
        metrics.LOST.labels(partition)
        self._begin: Callable[[], None] | None = begin
        self._resting = False
        self._held: RawBatch | None = None
        self._held_at = 0.0
        self._ticked_at = self._end_asked_at = time.monotonic()
        self._end_asked: tuple[int, AdminClient, Future[ListOffsetsResultInfo]] | None = None
        self._client.read_from(self._next_offset)

    def next_batch(self) -> list[RawBatch]:
        """Return what has arrived, without waiting; end when the flow is to end."""
        if self._stopping.is_set() or self._watch.is_over():
            raise StopIteration
        if self._begin is not None:
            # A tick in the first epoch, so that its snapshot has the services known by their rows.
            self._begin()
            self._begin = None
            return [self._batch([])]
        ready = self._released()
        if self._held is None and self._taken < EPOCH_RECORDS and not self._room.is_full:
            self._fetch()
        if ready is None and self._held is None and self._tick_is_due():
            ready = self._batch([])
        if ready is None:
            self._resting = True
            return []
        self._resting = False
        self._ticked_at = time.monotonic()
        return [ready]

    def next_awake(self) -> datetime | None:
        """Rest for a moment when there was nothing to give out."""
        return datetime.now(timezone.utc) + _REST if self._resting else None

    def snapshot(self) -> Position:
        """Return where the partition is read on; a new epoch begins."""
        self._taken = 0
        return Position(self._incarnation, self._next_offset, self._handed_out)

    def _fetch(self) -> None:
        """Take what the client has fetched; hold it until the topic is known to be the same."""
        messages = self._client.fetch(POLL_RECORDS)
        if not messages:
            if self._client.is_out_of_range:
                self._find_place()
            self._reach(self._client.next_offset)
            return
        if (messages[0].offset() or 0) < self._next_offset:
            # Offsets only go back in a topic that was made again.
            self._watch.remade.set()
            raise StopIteration
        self._client.expects_more = False
        self._held = self._batch(messages)
        size_bytes = sum(len(value) for value in self._held.value if value)
        weight = weight_of(size_bytes, len(messages))
        self._held.weight = self._room.take(self._partition, weight)
        self._held_at = time.monotonic()
        self._watch.ask()

    def _find_place(self) -> None:
        """Go on after what retention removed; end where the topic is shorter than what was read."""
        try:
            low, high = self._client.ends(_PLACE_TIMEOUT_S)
        except KafkaException as error:
            log.warning("kafka", problem=str(error), partition=self._partition)
            return
        if high < self._next_offset:
            # Only a topic that was made again has fewer records than before.
            self._watch.remade.set()
            raise StopIteration
        self._client.read_from(self._after_loss(self._next_offset, low))

    def _after_loss(self, start: int, low: int) -> int:
        """Return where to read on; say loudly, and count, what retention removed unread."""
        if start >= low:
            return start
        metrics.LOST.labels(self._partition).inc(low - start)
        log.error(
            "retention removed records before they were read",
            partition=self._partition,
            lost=low - start,
            expected_offset=start,
            first_offset=low,
        )
        return low

    def _released(self) -> RawBatch | None:
        """Return what is held, if it is known to be of the topic that the flow began with."""
        batch = self._held
        if batch is None or not self._watch.was_there_at(self._held_at):
            return None
        self._held = None
        self._taken += len(batch.offset)
        self._handed_out = batch.next_offset
        self._reach(batch.next_offset)
        return batch

    def _reach(self, next_offset: int) -> None:
        self._next_offset = metrics.LAG.positions[self._partition] = next_offset

    def _tick_is_due(self) -> bool:
        return time.monotonic() - self._ticked_at > _TICK_S

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()

    def _batch(self, messages: list[Message]) -> RawBatch:
        offsets = cast("list[int]", [m.offset() for m in messages])
        arrivals = plausible([m.timestamp()[1] for m in messages])
        return RawBatch(
            incarnation=self._incarnation,
            partition=self._partition,
            next_offset=self._client.next_offset if offsets else self._next_offset,
            key=[m.key() for m in messages],
            value=[m.value() for m in messages],
            arrival_ms=arrivals,
            offset=offsets,
            read_until_ms=arrivals[-1] if arrivals else self._silent_until_ms(),
        )

    def _silent_until_ms(self) -> int | None:
        """Return a time before which nothing unread has arrived, if the end has been reached.

        The high watermark is asked for after the clock was read, so it knows all that came before.
        The answer is picked up later: nothing here waits.
        """
        if self._end_asked is None:
            if time.monotonic() - self._end_asked_at > _END_CHECK_S:
                self._end_asked_at = time.monotonic()
                self._end_asked = (
                    time.time_ns() // 1_000_000,
                    *self._watch.ask_end(self._place),
                )
            return None
        asked_ms, _, answer = self._end_asked
        if not answer.done():
            return None
        self._end_asked = None
        end = end_told(answer)
        self._client.expects_more = end is not None and self._next_offset < end
        return None if end is None or self._next_offset < end else asked_ms - CLOCK_SKEW_MS

    def _first_offset(self, settings: Settings, start: int | None) -> int:
        """Return where to begin; say loudly if retention has removed what was to come next."""
        try:
            low, _ = self._client.ends(REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise BrokerError(unreachable(settings, error)) from None
        return low if start is None else self._after_loss(start, low)


def plausible(arrivals: list[int]) -> list[int]:
    """Return arrivals none of which lies ahead of this machine's clock, or before the epoch.

    A broker's append time never does; where the topic keeps the producers' times instead, one
    wrong clock would move on the clocks of all services.
    """
    latest_ms = time.time_ns() // 1_000_000 + CLOCK_SKEW_MS
    if arrivals and (max(arrivals) > latest_ms or min(arrivals) < 0):
        return [min(max(arrival_ms, 0), latest_ms) for arrival_ms in arrivals]
    return arrivals
