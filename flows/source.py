"""Bytewax source: one poll of a partition of the topic gives one RawBatch with its offsets."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone
from typing import cast

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec
from msgspec import Struct

from flows.watch import TopicWatch
from tocsin.batches import RawBatch
from tocsin.errors import BrokerError, RecoveryAhead
from tocsin.settings import Settings
from tocsin.topics import REQUEST_TIMEOUT_S, admin_client, unreachable

log = structlog.get_logger()

POLL_RECORDS = 10_000
EPOCH_RECORDS = 500_000
"""What a partition may hand out between two snapshots: within an epoch nothing else stops it."""
_REST = timedelta(milliseconds=2)
_TICK_S = 0.5
"""A partition without messages gives out an empty batch this often: time goes on downstream."""
_END_CHECK_S = 5.0
CLOCK_SKEW_MS = 10_000
"""How far the broker's clock may be behind this machine's."""


class Position(Struct, frozen=True):
    """What recovery keeps of a partition: where it is read on, in that incarnation.

    handed_out: end of the last batch that was given out, None before the first: stored by then.
    """

    incarnation: int
    next_offset: int
    handed_out: int | None


class TopicSource(FixedPartitionedSource[RawBatch, Position]):
    """Every partition of the topic, each read by a consumer of its own.

    stored_offset: how far a partition is stored in the database, for a check on recovery.
    first_offset: where a partition is read from that recovery knows nothing of; None: from its
        beginning.
    stopping: when set, every partition ends, and with them the dataflow; likewise when the watch
        finds that the topic was made again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        incarnation: int,
        partitions: Iterable[int],
        stored_offset: Callable[[int], int | None],
        first_offset: Callable[[int], int | None],
        stopping: threading.Event,
        watch: TopicWatch,
    ) -> None:
        self._settings = settings
        self._incarnation = incarnation
        self._partitions = list(partitions)
        self._stored_offset = stored_offset
        self._first_offset = first_offset
        self.has_begun = False
        self._stopping = stopping
        self._watch = watch
        self._admin = admin_client(settings)

    def list_parts(self) -> list[str]:
        """Name the partitions so that their names sort as their numbers do."""
        return [part_name(partition) for partition in self._partitions]

    def build_part(
        self, step_id: str, for_part: str, resume_state: Position | None
    ) -> "PartitionReader":
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
            start,
            self._admin,
            self._stopping,
            self._watch,
            self._begin,
        )

    def _begin(self) -> None:
        self.has_begun = True

    def _position_of_rows(self, partition: int) -> Position | None:
        next_offset = self._first_offset(partition)
        return None if next_offset is None else Position(self._incarnation, next_offset, None)


class PartitionReader(StatefulSourcePartition[RawBatch, Position]):
    """One partition of the topic, read in order."""

    def __init__(
        self,
        settings: Settings,
        incarnation: int,
        partition: int,
        start: Position | None,
        admin: AdminClient,
        stopping: threading.Event,
        watch: TopicWatch,
        begin: Callable[[], None],
    ) -> None:
        self._admin = admin
        self._incarnation = incarnation
        self._partition = partition
        self._stopping = stopping
        self._watch = watch
        self._consumer = Consumer(_consumer_config(settings))
        self._place = TopicPartition(settings.topic, partition, OFFSET_BEGINNING)
        self._next_offset = self._first_offset(
            settings, None if start is None else start.next_offset
        )
        self._handed_out = start.handed_out if start is not None else None
        self._taken = 0
        self._begin: Callable[[], None] | None = begin
        self._resting = False
        self._held: RawBatch | None = None
        self._held_at = 0.0
        self._ticked_at = self._end_asked_at = time.monotonic()
        self._end_asked: tuple[int, Future[ListOffsetsResultInfo]] | None = None
        self._consumer.assign([TopicPartition(settings.topic, partition, self._next_offset)])

    def next_batch(self) -> list[RawBatch]:
        """Return what has arrived, without waiting; end when the flow is to end."""
        if self._stopping.is_set() or self._watch.remade.is_set():
            raise StopIteration
        if self._begin is not None:
            # A tick in the first epoch, so that its snapshot has the services known by their rows.
            self._begin()
            self._begin = None
            return [self._batch([])]
        ready = self._released()
        if self._held is None and self._taken < EPOCH_RECORDS:
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
        messages = [m for m in self._consumer.consume(POLL_RECORDS, timeout=0) if _usable(m)]
        if not messages:
            return
        if (messages[0].offset() or 0) < self._next_offset:
            # Offsets only go back in a topic that was made again.
            self._watch.remade.set()
            raise StopIteration
        self._held = self._batch(messages)
        self._held_at = time.monotonic()
        self._watch.ask()

    def _released(self) -> RawBatch | None:
        """Return what is held, if it is known to be of the topic that the flow began with."""
        batch = self._held
        if batch is None or not self._watch.was_there_at(self._held_at):
            return None
        self._held = None
        self._taken += len(batch.offset)
        self._next_offset = self._handed_out = batch.next_offset
        return batch

    def _tick_is_due(self) -> bool:
        return time.monotonic() - self._ticked_at > _TICK_S

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _batch(self, messages: list[Message]) -> RawBatch:
        offsets = cast("list[int]", [m.offset() for m in messages])
        arrivals = _plausible([m.timestamp()[1] for m in messages])
        return RawBatch(
            incarnation=self._incarnation,
            partition=self._partition,
            next_offset=offsets[-1] + 1 if offsets else self._next_offset,
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
                self._end_asked = (time.time_ns() // 1_000_000, self._ask_end())
            return None
        asked_ms, answer = self._end_asked
        if not answer.done():
            return None
        self._end_asked = None
        if answer.exception() is not None or self._next_offset < answer.result().offset:
            return None
        return asked_ms - CLOCK_SKEW_MS

    def _ask_end(self) -> "Future[ListOffsetsResultInfo]":
        spec = {self._place: OffsetSpec.latest()}
        return self._admin.list_offsets(spec, request_timeout=REQUEST_TIMEOUT_S)[self._place]

    def _first_offset(self, settings: Settings, start: int | None) -> int:
        """Return where to begin; say loudly if retention has removed what was to come next."""
        try:
            low, _ = self._consumer.get_watermark_offsets(self._place, timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise BrokerError(unreachable(settings, error)) from None
        if start is not None and start < low:
            log.error(
                "retention removed records before they were read",
                partition=self._partition,
                lost=low - start,
                expected_offset=start,
                first_offset=low,
            )
        return low if start is None else max(low, start)


def part_name(partition: int) -> str:
    """Return a partition's name in the dataflow."""
    return f"{partition:06d}"


def _consumer_config(settings: Settings) -> dict[str, object]:
    return {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": "tocsin-flow",
        "group.id": "tocsin-flow",  # asked for by the client; no group is ever joined
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 5,
        # A broker may look for new records only a few times while it lets a fetch wait.
        "fetch.wait.max.ms": 25,
        "log_level": 2,  # what matters is told by `error_cb`
        "fetch.message.max.bytes": 4 * 1024 * 1024,
        "queued.max.messages.kbytes": 32 * 1024,
        "error_cb": _say_error,
    }


def _plausible(arrivals: list[int]) -> list[int]:
    """Return arrivals none of which lies ahead of this machine's clock, or before the epoch.

    A broker's append time never does; where the topic keeps the producers' times instead, one
    wrong clock would move on the clocks of all services.
    """
    latest_ms = time.time_ns() // 1_000_000 + CLOCK_SKEW_MS
    if arrivals and (max(arrivals) > latest_ms or min(arrivals) < 0):
        return [min(max(arrival_ms, 0), latest_ms) for arrival_ms in arrivals]
    return arrivals


def _say_error(error: KafkaError) -> None:
    log.warning("kafka", problem=error.str())


def _usable(message: Message) -> bool:
    error = message.error()
    if error is not None:
        log.warning("kafka", problem=error.str(), partition=message.partition())
    return error is None
