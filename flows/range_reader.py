"""One partition of a range of the topic, read up to its end by a consumer of its own."""

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Message

from flows.partition_client import PartitionClient
from tocsin.errors import BrokerError

_SILENCE_S: Final = 60.0
"""A broker that gives nothing for so long, though there is something, is given up.

By then its client was replaced twice.
"""


class RangeReader:
    """Reads a partition from an offset up to another; no position is kept anywhere.

    config: as `consumer_config` gives it.
    """

    def __init__(
        self, config: Mapping[str, Any], topic: str, partition: int, first: int, end: int
    ) -> None:
        self.partition = partition
        self._end = end
        self._nothing_since: float | None = None
        self._client = PartitionClient(config, topic, partition)
        self._client.expects_more = True
        self._client.read_from(first)

    @property
    def next_offset(self) -> int:
        """Where it reads on, at most the end of the range."""
        return min(self._client.next_offset, self._end)

    @property
    def is_over(self) -> bool:
        """Whether all of the range was read."""
        return self.next_offset == self._end

    def fetch(self, most: int, timeout_s: float = 0.0) -> list[Message]:
        """Return what has come of the range, none if there is none within the time.

        Raises BrokerError where its offsets are gone, or nothing has come for too long.
        """
        messages = self._client.fetch(most, timeout_s)
        if self._client.is_out_of_range:
            raise BrokerError(
                f"offset {self.next_offset} of partition {self.partition} is not there any more:"
                " retention has removed it while it was to be read"
            )
        if self.is_over:
            messages = [one for one in messages if (one.offset() or 0) < self._end]
        self._refuse_silence(is_silent=not (messages or self.is_over))
        return messages

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()

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
