"""The acknowledgements that one call of `publish` waits for."""

import asyncio
from collections.abc import Callable

from confluent_kafka import KafkaError, Message


class Delivery:
    """How many reports are still due, and the last error that one told of."""

    __slots__ = ("_settled", "began", "error", "future", "records", "remaining", "size")

    def __init__(
        self,
        records: int,
        size: int,
        future: "asyncio.Future[None]",
        settled: "Callable[[Delivery], None]",
    ) -> None:
        self.records = records
        self.size = size
        self.future = future
        self.began = future.get_loop().time()
        self.remaining = records
        self.error: KafkaError | None = None
        self._settled = settled

    def acknowledge(self, error: KafkaError | None, _message: Message) -> None:
        """Take one delivery report."""
        if error is not None:
            self.error = error
        self.remaining -= 1
        if not self.remaining:
            self._settled(self)

    def give_up(self, count: int, error: KafkaError) -> None:
        """Wait no more for so many reports, which will never come."""
        self.error = error
        self.remaining -= count
        if not self.remaining:
            self._settled(self)
