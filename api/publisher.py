"""Delivery-confirmed writes to Kafka: `publish` returns when the records are stored."""

import asyncio
import contextlib
import contextvars
from collections.abc import Sequence
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from api.delivery import Delivery
from api.metrics import CONFIRMED, UNCONFIRMED
from api.topic import Topic
from tocsin.errors import BrokerError, TopicMissing
from tocsin.settings import Settings
from tocsin.topics import PARTITIONER, client_config

RECORDS_IN_FLIGHT_MAX = 100_000
BYTES_IN_FLIGHT_MAX = 128 * 1024 * 1024
LINGER_MS = 1
TOPIC_TIMEOUT_S = 2.0
WATCH_S = 1.0
"""How often the topic is looked at: so long may its loss go unnoticed."""
_BUSY_POLL_S = 0.001
_STUCK = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,
        KafkaError.UNKNOWN,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)
"""What a producer may meet for ever, where a new one would not."""
_IDLE_POLL_S = 0.25

log = structlog.get_logger(__name__)

Keyed = tuple[bytes, bytes]
"""A record's key and its value, as they go over the wire."""


class Publisher:
    """A producer that is bounded and whose every write is confirmed by all in-sync replicas.

    The event loop polls for delivery reports, every millisecond while some are due: a thread that
    polls would fight the loop for the interpreter lock and cost a third of the requests.

    A producer does not survive the loss of its topic: to one that was made anew, as by a broker
    that came back empty, it goes on numbering its records as to the old one, and none is ever
    acknowledged. So the topic is watched, and each topic gets a producer of its own; so does a
    broker that answers but acknowledges nothing.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        records_max: int = RECORDS_IN_FLIGHT_MAX,
        bytes_max: int = BYTES_IN_FLIGHT_MAX,
    ) -> None:
        self._settings = settings
        self._topic = settings.topic
        self._timeout_s = settings.publish_timeout_s
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._due: set[Delivery] = set()
        self._records = 0
        self._bytes = 0
        self._fatal = False
        self._topic_id: str | None = None
        self._unanswered_at = 0.0
        self._stuck = False
        self._asked: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._producer: Producer
        self._source: Topic
        self._loop: asyncio.AbstractEventLoop
        self._context: contextvars.Context

    def start(self) -> None:
        """Start producing, from the running event loop. The broker need not answer yet."""
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._source = Topic(self._settings)
        self._producer = self._new_producer()
        self._poll_in(_IDLE_POLL_S)
        self._watch = asyncio.create_task(self._watch_topic())

    @property
    def in_flight(self) -> tuple[int, int]:
        """How many records wait for their acknowledgement, and their bytes."""
        return self._records, self._bytes

    async def publish(self, records: Sequence[Keyed]) -> None:
        """Write records and return when the broker has acknowledged each.

        Raises BrokerError: too much is in flight already (then none of them was sent), or not all
        were acknowledged within the time-out (then any of them may have been stored). Raises
        TopicMissing when there is no such topic.
        """
        if self._topic_id is None:
            await self.require_topic(min(self._timeout_s, TOPIC_TIMEOUT_S))
        count, size = len(records), sum([len(key) + len(value) for key, value in records])
        if self._records + count > self._records_max or self._bytes + size > self._bytes_max:
            raise BrokerError("too many records wait for Kafka's acknowledgement: try again later")
        if not self._records:
            self._poll_in(_BUSY_POLL_S)
        self._records += count
        self._bytes += size
        delivery = Delivery(count, size, self._loop.create_future(), self._settle)
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
        try:
            found = await self._source.ask(timeout_s)
        except TopicMissing:
            if self._topic_id is not None:
                self._topic_id = None
                self._replace_producer("the topic is gone")
            raise
        except BrokerError:
            self._unanswered_at, self._stuck = self._loop.time(), False
            raise
        if self._topic_id not in {None, found}:
            self._replace_producer("the topic was made anew")
        elif self._stuck:
            self._replace_producer("Kafka answers, but acknowledges nothing")
        self._topic_id = found

    async def _watch_topic(self) -> None:
        while True:
            with contextlib.suppress(BrokerError):
                await self.require_topic(TOPIC_TIMEOUT_S)
            await asyncio.sleep(WATCH_S)

    async def stop(self) -> None:
        """Wait, as long as a publish may take, until all that was sent is settled; then end.

        Whoever waited for it goes on first.
        """
        if self._timer is None:
            return
        end = self._loop.time() + self._timeout_s + 1
        while self._records and self._loop.time() < end:  # noqa: ASYNC110 (as the poll does)
            await asyncio.sleep(_BUSY_POLL_S)
        await asyncio.sleep(0)  # what was settled in this turn wakes whoever waited for it
        self._timer.cancel()
        self._timer = None
        if self._watch is not None:
            self._watch.cancel()
        if self._records:
            log.error("kafka", error=f"{self._records} records were never confirmed")

    def _produce(self, records: Sequence[Keyed], delivery: Delivery) -> None:
        messages: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in records]
        report = delivery.acknowledge
        try:
            sent = self._producer.produce_batch(self._topic, messages, on_delivery=report)
        except KafkaException as error:
            sent, cause = 0, error.args[0]
        else:
            if sent == len(records):
                return
            cause = next(one["_error"] for one in messages if "_error" in one)
        # Those that were sent still report.
        self._fatal = self._fatal or _is_fatal(cause)
        delivery.give_up(len(records) - sent, cause)

    def _poll(self) -> None:
        try:
            self._producer.poll(0)
        except KafkaException as error:  # so it tells of what it cannot go on from
            self._on_error(error.args[0])
        if self._fatal:
            self._replace_producer("the producer cannot go on")
        self._poll_in(_BUSY_POLL_S if self._records else _IDLE_POLL_S)

    def _poll_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # In no request's context: what polling logs is of none, or of all.
        self._timer = self._loop.call_later(delay_s, self._poll, context=self._context)

    def _settle(self, delivery: Delivery) -> None:
        self._due.discard(delivery)
        self._records -= delivery.records
        self._bytes -= delivery.size
        took = CONFIRMED if delivery.error is None else UNCONFIRMED
        took.observe(self._loop.time() - delivery.began)
        if delivery.error is None:
            self._stuck = False
        elif delivery.error.code() in _STUCK:
            self._stuck = delivery.began > self._unanswered_at
        if delivery.future.done():  # its client has gone
            return
        if delivery.error is None:
            delivery.future.set_result(None)
        else:
            delivery.future.set_exception(_unconfirmed(delivery.error))

    def _new_producer(self) -> Producer:
        return Producer(
            {
                **client_config(self._settings, "tocsin-api"),
                "acks": "all",
                "enable.idempotence": True,
                # So it is given its number at once, and not when the first records wait for it.
                "enable.sparse.connections": False,
                # A producer's default, unlike a consumer's, is to have a missing topic created.
                "allow.auto.create.topics": False,
                "partitioner": PARTITIONER,
                "compression.type": "lz4",
                "linger.ms": LINGER_MS,
                "message.timeout.ms": round(self._timeout_s * 1000),
                # Ours are the bounds; these only have to lie above them.
                "queue.buffering.max.messages": self._records_max * 2,
                "queue.buffering.max.kbytes": self._bytes_max // 512,
                "error_cb": self._on_error,
            }
        )

    def _on_error(self, error: KafkaError) -> None:
        # It also tells of every attempt to connect that fails; once an outage is enough.
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            log.warning("kafka", error=error.str())
        self._fatal = self._fatal or _is_fatal(error)

    def _replace_producer(self, why: str) -> None:
        """Go on with a new producer; what was in flight has failed."""
        log.error("kafka", error=f"{why}: a new producer takes over")
        ended, self._producer = self._producer, self._new_producer()
        self._fatal = False
        for delivery in tuple(self._due):
            delivery.give_up(delivery.remaining, KafkaError(KafkaError._FATAL, why))
        self._stuck = False
        self._loop.run_in_executor(None, _end, ended)


def _end(producer: Producer) -> None:
    """Let go of what a producer still holds; this may block, and nobody waits for its reports."""
    with contextlib.suppress(KafkaException):
        producer.purge()
        producer.flush(1)


def _unconfirmed(error: KafkaError) -> BrokerError:
    return BrokerError(f"Kafka does not confirm ({error.str()})")


def _is_fatal(error: KafkaError) -> bool:
    return error.fatal() or error.code() == KafkaError._FATAL
