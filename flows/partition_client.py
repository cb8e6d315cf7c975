"""What a partition holds, from an offset on: a client that is replaced once it has lost the broker.

A broker that has just begun may name no broker, not even itself. librdkafka, 2.10 to 2.16 at least,
believes it, knows none any more, and asks nobody ever again (its issue 5301): without an error, a
partition would stand still until the process is started anew.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tocsin.settings import Settings
from tocsin.topics import client_config

log = structlog.get_logger()

LOST_S: Final = 15.0
"""So long a client may give nothing though more is there; longer than a request may take."""
_LOST_MAX_S: Final = 600.0
"""Each client has twice the time of the one before: what is there may be an open transaction."""
_PAUSE_S: Final = 5.0
"""Who looks so seldom can't tell how long a client has given nothing."""
_SAY_AGAIN_S: Final = 30.0
_NO_LEADER: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
)
"""What a topic that was just made, or whose broker has just come back, answers for a moment."""
_LEADER_S: Final = 0.1
_FETCHED_BYTES = 64 * 1024 * 1024
_FETCHED_RECORDS = 80_000
"""What the clients of all partitions together may have fetched ahead, besides one fetch each."""
_FETCH_BYTES = 2 * 1024 * 1024
"""What they fetch at once, all together, as it is on the wire: unpacked it may be fifty times that.

A broker sends one producer's batch at least.
"""
_SHARE_BYTES_MIN = 64 * 1024


class PartitionClient:
    """Reads one partition by assignment; no position is kept in Kafka.

    config: as `consumer_config` gives it.
    next_offset: where it reads on; past records, and past the marks of transactions behind them.
    is_out_of_range: what was to come next is not there; until `read_from` nothing comes.
    expects_more: set while the partition is known to hold more. A client that gives nothing of it
        for LOST_S is replaced.
    """

    def __init__(self, config: Mapping[str, Any], topic: str, partition: int) -> None:
        self._config = {**config, "enable.partition.eof": True}
        self._topic = topic
        self._partition = partition
        self._consumer = Consumer(self._config)
        self._silent_since: float | None = None
        self._looked_at = 0.0
        self._lost_s = LOST_S
        self.next_offset = 0
        self.is_out_of_range = False
        self.expects_more = False

    def read_from(self, offset: int) -> None:
        """Read on at an offset."""
        self.next_offset = offset
        self.is_out_of_range = False
        self._consumer.assign([TopicPartition(self._topic, self._partition, offset)])

    def ends(self, timeout_s: float) -> tuple[int, int]:
        """Return the first offset that there is, and the one behind the last.

        Raises KafkaException when the broker does not answer.
        """
        place = TopicPartition(self._topic, self._partition)
        give_up_at = time.monotonic() + timeout_s
        while True:
            try:
                left_s = max(give_up_at - time.monotonic(), 0.0)
                return self._consumer.get_watermark_offsets(place, timeout=left_s)
            except KafkaException as error:
                if error.args[0].code() not in _NO_LEADER or time.monotonic() >= give_up_at:
                    raise
            time.sleep(_LEADER_S)  # the client tells nobody when it knows the leader

    def fetch(self, most: int, timeout_s: float = 0.0) -> list[Message]:
        """Return the records that have come, none if there is none within the time."""
        came = self._consumer.consume(most, timeout=timeout_s)
        messages = [message for message in came if message.error() is None]
        if len(messages) < len(came):
            for message in came:
                if (error := message.error()) is not None:
                    self._hear(message, error)
        if messages:
            self.next_offset = max(self.next_offset, (messages[-1].offset() or 0) + 1)
            self._silent_since, self._lost_s = None, LOST_S
        elif self.expects_more:
            self._refuse_silence()
        else:
            self._silent_since = None
        return messages

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _hear(self, message: Message, error: KafkaError) -> None:
        """Take what is no record."""
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
            self.next_offset = max(self.next_offset, message.offset() or 0)
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  (its public name)
            self.is_out_of_range = True
        else:
            log.warning("kafka", problem=error.str(), partition=self._partition)

    def _refuse_silence(self) -> None:
        now = time.monotonic()
        if self._silent_since is None or now - self._looked_at > _PAUSE_S:
            self._silent_since = now
        elif now - self._silent_since > self._lost_s:
            log.warning(
                "nothing comes of a partition though more is there: a new client takes over",
                partition=self._partition,
                offset=self.next_offset,
                waited_s=self._lost_s,
            )
            self._consumer.close()
            self._consumer = Consumer(self._config)
            self.read_from(self.next_offset)
            self._silent_since, self._lost_s = None, min(2 * self._lost_s, _LOST_MAX_S)
        self._looked_at = now


def consumer_config(settings: Settings, partitions: int) -> dict[str, object]:
    """Return how one partition of so many is read: by assignment, without a position in Kafka."""
    fetch_bytes, fetched_bytes = (
        max(together // partitions, _SHARE_BYTES_MIN) for together in (_FETCH_BYTES, _FETCHED_BYTES)
    )
    return {
        **client_config(settings, "tocsin-flow"),
        "group.id": "tocsin-flow",  # asked for by the client; no group is ever joined
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # see `PartitionClient.is_out_of_range`
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 5,
        # A broker may look for new records only a few times while it lets a fetch wait.
        "fetch.wait.max.ms": 25,
        "fetch.message.max.bytes": fetch_bytes,
        # It fetches until there is one or the other; for each record it takes some 300 bytes more.
        "queued.max.messages.kbytes": fetched_bytes // 1024,
        "queued.min.messages": max(_FETCHED_RECORDS // partitions, 1),
        "error_cb": say_error,
    }


_said_at: dict[int, float] = {}


def say_error(error: KafkaError) -> None:
    """Say each kind of trouble now and then: every client tells of it, at every attempt."""
    now = time.monotonic()
    if now - _said_at.get(error.code(), -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
        _said_at[error.code()] = now
        log.warning("kafka", problem=error.str())
