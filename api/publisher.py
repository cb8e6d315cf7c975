"""Delivery-confirmed writes to Kafka: `publish` returns when the records are stored."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tocsin.errors import BrokerError, TopicMissing
from tocsin.settings import Settings
from tocsin.topics import PARTITIONER

RECORDS_IN_FLIGHT_MAX = 100_000
BYTES_IN_FLIGHT_MAX = 128 * 1024 * 1024
LINGER_MS = 2
TOPIC_TIMEOUT_S = 2.0
_BUSY_POLL_S = 0.001
_IDLE_POLL_S = 0.25

log = structlog.get_logger(__name__)

Keyed = tuple[bytes, bytes]
"""A record's key and its value, as they go over the wire."""


class _Delivery:
    """The acknowledgements that one call of `publish` still waits for."""

    __slots__ = ("_settled", "error", "future", "records", "remaining", "size")

    def __init__(
        self,
        records: int,
        size: int,
        future: "asyncio.Future[None]",
        settled: "Callable[[_Delivery], None]",
    ) -> None:
        self.records = records
        self.size = size
        self.future = future
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


class Publisher:
    """A producer that is bounded and whose every write is confirmed by all in-sync replicas.

    The event loop polls for delivery reports, every millisecond while some are due: a thread that
    polls would fight the loop for the interpreter lock and cost a third of the requests.
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
        self._due: set[_Delivery] = set()
        self._records = 0
        self._bytes = 0
        self._fatal = False
        self._topic_seen = False
        self._asked: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._producer: Producer
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Start producing, from the running event loop. The broker need not answer yet."""
        self._loop = asyncio.get_running_loop()
        self._producer = self._new_producer()
        self._poll_in(_IDLE_POLL_S)

    async def publish(self, records: Sequence[Keyed]) -> None:
        """Write records and return when the broker has acknowledged each.

        Raises BrokerError: too much is in flight already (then none of them was sent), or not all
        were acknowledged within the time-out (then any of them may have been stored). Raises
        TopicMissing when there is no such topic.
        """
        if not self._topic_seen:
            await self.require_topic(min(self._timeout_s, TOPIC_TIMEOUT_S))
        count, size = len(records), sum([len(key) + len(value) for key, value in records])
        if self._records + count > self._records_max or self._bytes + size > self._bytes_max:
            raise BrokerError("too many records wait for Kafka's acknowledgement: try again later")
        if not self._records:
            self._poll_in(_BUSY_POLL_S)
        self._records += count
        self._bytes += size
        delivery = _Delivery(count, size, self._loop.create_future(), self._settle)
        self._due.add(delivery)
        self._produce(records, delivery)
        await delivery.future

    async def require_topic(self, timeout_s: float) -> None:
        """Ask the broker whether the topic is there; those who ask at once share one answer.

        Raises TopicMissing, or BrokerError when the broker does not answer.
        """
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._ask_for_topic(timeout_s))
        await asyncio.shield(self._asked)

    async def _ask_for_topic(self, timeout_s: float) -> None:
        # All topics, since a broker may make one that is asked for by name, with settings that
        # are not ours. For the same reason nothing is produced before the topic was seen.
        ask = self._producer.list_topics
        try:
            found = await self._loop.run_in_executor(None, partial(ask, timeout=timeout_s))
        except KafkaException:
            raise BrokerError("Kafka does not answer") from None
        if self._topic not in found.topics:
            raise TopicMissing(f"there is no topic {self._topic}: run `tocsin migrate`")
        self._topic_seen = True

    async def stop(self) -> None:
        """Wait, as long as a publish may take, until all that was sent is settled; then end."""
        if self._timer is None:
            return
        end = self._loop.time() + self._timeout_s + 1
        while self._records and self._loop.time() < end:  # noqa: ASYNC110 (as the poll does)
            await asyncio.sleep(_BUSY_POLL_S)
        self._timer.cancel()
        self._timer = None
        if self._records:
            log.error("kafka", error=f"{self._records} records were never confirmed")

    def _produce(self, records: Sequence[Keyed], delivery: _Delivery) -> None:
        report = delivery.acknowledge
        produce, topic = self._producer.produce, self._topic
        sent = 0
        try:
            for key, value in records:
                produce(topic, value, key, on_delivery=report)
                sent += 1
        except (BufferError, KafkaException) as error:
            # Those sent before still report.
            cause = _kafka_error(error)
            self._fatal = self._fatal or cause.fatal()
            delivery.give_up(len(records) - sent, cause)

    def _poll(self) -> None:
        try:
            self._producer.poll(0)
        except KafkaException as error:  # so it tells of what it cannot go on from
            self._on_error(error.args[0])
        if self._fatal:
            self._replace_producer()
        self._poll_in(_BUSY_POLL_S if self._records else _IDLE_POLL_S)

    def _poll_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._poll)

    def _settle(self, delivery: _Delivery) -> None:
        self._due.discard(delivery)
        self._records -= delivery.records
        self._bytes -= delivery.size
        if delivery.future.done():  # its client has gone
            return
        if delivery.error is None:
            delivery.future.set_result(None)
        else:
            delivery.future.set_exception(_unconfirmed(delivery.error))

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
        # It also tells of every attempt to connect that fails; once an outage is enough.
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 (librdkafka's name of it)
            log.warning("kafka", error=error.str())
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001
            self._fatal = True

    def _replace_producer(self) -> None:
        """Go on after an error that ends an idempotent producer; what was in flight has failed."""
        log.error("kafka", error="the producer cannot go on, a new one takes over")
        ended, self._producer = self._producer, self._new_producer()
        self._fatal = False
        for delivery in tuple(self._due):
            delivery.give_up(delivery.remaining, KafkaError(KafkaError._FATAL))  # noqa: SLF001
        self._loop.run_in_executor(None, _end, ended)


def _end(producer: Producer) -> None:
    """Let go of what a producer still holds; this may block, and nobody waits for its reports."""
    with contextlib.suppress(KafkaException):
        producer.purge()
        producer.flush(1)


def _unconfirmed(error: KafkaError) -> BrokerError:
    return BrokerError(f"Kafka does not confirm ({error.str()})")


def _kafka_error(error: BufferError | KafkaException) -> KafkaError:
    found = error.args[0] if error.args else None
    return found if isinstance(found, KafkaError) else KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
