"""Delivery-confirmed writes to Kafka: `publish` returns when the records are stored."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tocsin.errors import BrokerError
from tocsin.settings import Settings
from tocsin.topics import PARTITIONER

RECORDS_IN_FLIGHT_MAX = 100_000
BYTES_IN_FLIGHT_MAX = 128 * 1024 * 1024
LINGER_MS = 2
_POLL_S = 0.2

log = structlog.get_logger(__name__)

Keyed = tuple[bytes, bytes]
"""A record's key and its value, as they go over the wire."""


class _Delivery:
    """The acknowledgements that one call of `publish` still waits for."""

    __slots__ = ("error", "future", "remaining", "settled", "size", "waiting")

    def __init__(
        self, waiting: int, size: int, future: "asyncio.Future[None]", settled: "list[_Delivery]"
    ) -> None:
        self.waiting = waiting
        self.remaining = waiting
        self.size = size
        self.future = future
        self.settled = settled
        self.error: KafkaError | None = None

    def acknowledge(self, error: KafkaError | None, _message: Message) -> None:
        """Take one delivery report; called by the polling thread."""
        if error is not None:
            self.error = error
        self.remaining -= 1
        if self.remaining == 0:
            self.settled.append(self)


class Publisher:
    """A producer that is bounded and whose every write is confirmed by all in-sync replicas.

    What is in flight is counted on the event loop. One thread polls: it takes the delivery reports
    and wakes the loop once for all that came together.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        records_max: int = RECORDS_IN_FLIGHT_MAX,
        bytes_max: int = BYTES_IN_FLIGHT_MAX,
    ) -> None:
        self._topic = settings.topic
        self._timeout_s = settings.publish_timeout_s
        self._bootstrap = settings.kafka_bootstrap
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._records = 0
        self._bytes = 0
        self._settled: list[_Delivery] = []
        self._unsent: deque[tuple[_Delivery, int, KafkaError]] = deque()
        self._fatal = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._producer: Producer
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Start producing, from the running event loop. The broker need not answer yet."""
        self._loop = asyncio.get_running_loop()
        self._producer = self._new_producer()
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    async def publish(self, records: Sequence[Keyed]) -> None:
        """Write records and return when the broker has acknowledged each.

        Raises BrokerError: too much is in flight already (then none of them was sent), or not all
        were acknowledged within the time-out (then any of them may have been stored).
        """
        size = sum([len(key) + len(value) for key, value in records])
        if self._records + len(records) > self._records_max or self._bytes + size > self._bytes_max:
            raise BrokerError("too many records wait for Kafka's acknowledgement: try again later")
        delivery = _Delivery(len(records), size, self._loop.create_future(), self._settled)
        self._records += len(records)
        self._bytes += size
        self._produce(records, delivery)
        await delivery.future

    async def topic_names(self, timeout_s: float) -> set[str]:
        """Ask the broker for its topics. Raises BrokerError when it does not answer."""
        try:
            found = await asyncio.to_thread(self._producer.list_topics, timeout=timeout_s)
        except KafkaException as error:
            raise BrokerError(self._unconfirmed(error.args[0])) from None
        return set(found.topics)

    async def stop(self) -> None:
        """Wait, as long as a publish may take, until all that was sent is settled; then end."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _produce(self, records: Sequence[Keyed], delivery: _Delivery) -> None:
        report = delivery.acknowledge
        produce, topic = self._producer.produce, self._topic
        sent = 0
        try:
            for key, value in records:
                produce(topic, value, key, on_delivery=report)
                sent += 1
        except (BufferError, KafkaException) as error:
            # Those sent before still report; the rest never will.
            self._unsent.append((delivery, len(records) - sent, _kafka_error(error)))

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(_POLL_S)
            self._give_up_unsent()
            self._wake()
            if self._fatal.is_set():
                self._replace_producer()
        self._producer.flush(self._timeout_s)
        self._producer.purge()
        self._producer.flush(1)
        self._give_up_unsent()
        self._wake()

    def _give_up_unsent(self) -> None:
        # Here, since only the polling thread counts acknowledgements.
        while self._unsent:
            delivery, unsent, error = self._unsent.popleft()
            delivery.error = error
            delivery.remaining -= unsent
            if delivery.remaining == 0:
                self._settled.append(delivery)

    def _wake(self) -> None:
        # The list object stays: deliveries hold it.
        if done := self._settled[:]:
            del self._settled[: len(done)]
            self._loop.call_soon_threadsafe(self._settle, done)

    def _settle(self, done: Sequence[_Delivery]) -> None:
        for delivery in done:
            self._records -= delivery.waiting
            self._bytes -= delivery.size
            if delivery.future.done():  # its client has gone
                continue
            if delivery.error is None:
                delivery.future.set_result(None)
            else:
                delivery.future.set_exception(BrokerError(self._unconfirmed(delivery.error)))

    def _new_producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "client.id": "tocsin-api",
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": PARTITIONER,
                "compression.type": "lz4",
                "linger.ms": LINGER_MS,
                "message.timeout.ms": round(self._timeout_s * 1000),
                # Ours are the bounds; these only have to lie above them.
                "queue.buffering.max.messages": self._records_max * 2,
                "queue.buffering.max.kbytes": self._bytes_max // 512,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 2,
                "error_cb": self._on_error,
            }
        )

    def _on_error(self, error: KafkaError) -> None:
        log.warning("kafka", error=error.str())
        if error.code() == KafkaError._FATAL:  # noqa: SLF001 (librdkafka's name of the code)
            self._fatal.set()

    def _replace_producer(self) -> None:
        """Go on after an error that ends an idempotent producer; what was in flight has failed."""
        log.error("kafka", error="the producer cannot go on, a new one takes over")
        ended, self._producer = self._producer, self._new_producer()
        self._fatal.clear()
        ended.purge()
        ended.flush(1)
        self._wake()

    def _unconfirmed(self, error: KafkaError) -> str:
        return f"Kafka does not confirm ({error.str()})"


def _kafka_error(error: BufferError | KafkaException) -> KafkaError:
    found = error.args[0] if error.args else None
    return found if isinstance(found, KafkaError) else KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
