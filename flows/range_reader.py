"""One partition of a range of the topic, read up to its end by a consumer of its own."""

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tocsin.errors import BrokerError

_SILENCE_S: Final = 60.0
"""A broker that gives nothing for so long, though there is something, is given up."""


class RangeReader:
    """Reads a partition from an offset up to another; no position is kept anywhere.

    config: as `consumer_config` gives it.
    """

    def __init__(
        self, config: Mapping[str, Any], topic: str, partition: int, first: int, end: int
    ) -> None:
        self.partition = partition
        self.next_offset = first
        self._end = end
        self._nothing_since: float | None = None
        self._consumer = Consumer({**config, "enable.partition.eof": True})
        self._consumer.assign([TopicPartition(topic, partition, first)])

    @property
    def is_over(self) -> bool:
        """Whether all of the range was read."""
        return self.next_offset >= self._end

    def fetch(self, most: int, timeout_s: float = 0.0) -> list[Message]:
        """Return what has come of the range, none if there is none within the time.

        Raises BrokerError where its offsets are gone, or nothing has come for too long.
        """
        came = self._consumer.consume(most, timeout=timeout_s)
        messages = [message for message in came if message.error() is None]
        if len(messages) < len(came):
            for message in came:
                if message.error() is not None:
                    self._hear(message)
        if messages:
            self.next_offset = max(self.next_offset, (messages[-1].offset() or 0) + 1)
        if self.is_over:
            self.next_offset = self._end
            messages = [one for one in messages if (one.offset() or 0) < self._end]
        self._refuse_silence(is_silent=not (messages or self.is_over))
        return messages

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _hear(self, message: Message) -> None:
        """Take what is no record: the end of the partition, or that its offsets are gone."""
        code = message.error().code()  # type: ignore[union-attr]  # it has one
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
            # What lies before it without a message is a mark of a transaction.
            self.next_offset = max(self.next_offset, message.offset() or 0)
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  (its public name)
            raise BrokerError(
                f"offset {self.next_offset} of partition {self.partition} is not there any more:"
                " retention has removed it while it was to be read"
            )

    def _refuse_silence(self, *, is_silent: bool) -> None:
        now = time.monotonic()
        if not is_silent:
            self._nothing_since = None
        elif self._nothing_since is None:
            self._nothing_since = now
        elif now - self._nothing_since > _SILENCE_S:
            raise BrokerError(
                f"partition {self.partition} has given nothing for {_SILENCE_S:.0f} s at"
                f" offset {self.next_offset}: is the broker up?"
            )
