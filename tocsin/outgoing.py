"""What Tocsin itself writes to Kafka: each message confirmed before the next step is taken."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from threading import Event
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from msgspec import Struct

from tocsin.batches import DeadLetter
from tocsin.errors import BrokerError
from tocsin.settings import Settings
from tocsin.topics import PARTITIONER, REQUEST_TIMEOUT_S, client_config

log = structlog.get_logger()

HURRIED_S = 4.0
"""How long a process that is asked to end waits for Kafka, at most."""
_INTERVAL_S = 0.1
_RAW_BYTES_MAX = 900 * 1024
_KEY_BYTES_MAX = 16 * 1024
_QUEUE_KIB = 64 * 1024
_BATCH_MESSAGES = 10_000
_BY_KEY: Final = -1
_REFUSALS: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        # Beside an invalid one in its request.
        KafkaError._INVALID_DIFFERENT_RECORD,  # noqa: SLF001  (its public name)
    }
)


Headers = Sequence[tuple[str, str | bytes | None]]


class Outgoing(Struct, frozen=True):
    """A message to be. partition: below 0 where its key decides."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int = _BY_KEY


class Delivery(Struct, frozen=True):
    """What became of a message: its place in the topic, or why Kafka has not acknowledged it.

    is_refused: the broker does not take it, so it is not in the topic; with any other problem it
        may be there all the same. too_large: it was refused for its size.
    """

    partition: int = -1
    offset: int = -1
    problem: str = ""
    is_refused: bool = False
    too_large: bool = False


class ConfirmedProducer:
    """Sends messages to one topic and waits for Kafka's acknowledgement of each.

    A client to which something was not acknowledged is replaced: it may have lost the broker for
    good (see `flows.partition_client`), or the topic that it knew, where another may write.

    batch_messages: how many may go in one request; a request that is too large fails as a whole.
    stopping: when set, it waits for HURRIED_S at most. config: what else the client is told.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        batch_messages: int = _BATCH_MESSAGES,
        stopping: Event | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._topic = topic
        self._stopping = stopping
        self._config = {
            **client_config(settings, "tocsin-flow"),
            "acks": "all",
            "enable.idempotence": True,
            # A topic that a broker makes by itself has the wrong settings.
            "allow.auto.create.topics": False,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
            "delivery.timeout.ms": int(REQUEST_TIMEOUT_S * 1000),
            "queue.buffering.max.kbytes": _QUEUE_KIB,
            "batch.num.messages": batch_messages,
            "error_cb": _is_told_by_delivery,
            **(config or {}),
        }
        self._producer = Producer(self._config)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send the messages in order; raise BrokerError if one was not acknowledged.

        Then some may have been written all the same: their reader tells them by their content.
        """
        for delivery in self.deliver(messages):
            if delivery.problem:
                raise BrokerError(f"cannot write to the topic {self._topic}: {delivery.problem}")

    def deliver(self, messages: Sequence[Outgoing]) -> list[Delivery]:
        """Send the messages in order; return what became of each, in the same order."""
        deliveries = [Delivery(problem="no answer in time")] * len(messages)

        def delivered(index: int, error: KafkaError | None, message: Message) -> None:
            if error is not None:
                deliveries[index] = _undelivered(error)
            else:
                place = message.partition(), message.offset()
                deliveries[index] = Delivery(place[0] or 0, place[1] or 0)

        for index, message in enumerate(messages):
            while True:
                try:
                    self._producer.produce(
                        self._topic,
                        message.value,
                        message.key,
                        message.partition,
                        headers=list(message.headers),
                        on_delivery=partial(delivered, index),
                    )
                except BufferError:
                    self._producer.poll(0.1)
                except KafkaException as error:
                    deliveries[index] = _undelivered(error.args[0])
                    break
                else:
                    break
        self._flush()
        told = list(deliveries)  # the reports of a purge would take their places
        if any(delivery.problem and not delivery.is_refused for delivery in told):
            self._replace()
        return told

    def _replace(self) -> None:
        self._producer.purge()
        self._producer.poll(0)
        self._producer = Producer(self._config)

    def _flush(self) -> None:
        """Wait until every message is delivered or given up."""
        end = time.monotonic() + 2 * REQUEST_TIMEOUT_S
        is_hurried = False
        while self._producer.flush(_INTERVAL_S) and time.monotonic() < end:
            if self._stopping is not None and self._stopping.is_set() and not is_hurried:
                is_hurried = True
                end = min(end, time.monotonic() + HURRIED_S)


class DeadLetterTopic:
    """The topic of what was put aside: raw bytes as they came, the reason in the headers.

    Of a record that is larger than the topic takes, only the beginning is sent; the header `bytes`
    tells its size, and the table of dead letters has it whole.

    At least once: topic, partition and offset in the headers tell a letter that comes twice.
    """

    def __init__(self, settings: Settings, stopping: Event) -> None:
        self._settings = settings
        self._topic = settings.dead_letter_topic
        self._stopping = stopping
        self._producer = ConfirmedProducer(settings, self._topic, stopping=stopping)
        # Beside a large letter in its request, a small one is refused with it.
        self._alone: ConfirmedProducer | None = None

    def announce(self, letters: Sequence[DeadLetter]) -> None:
        """Send the letters and wait until they are safe; raise BrokerError if they are not."""
        messages = [self._message(letter) for letter in letters]
        refused = self._deliver(self._producer, messages)
        while refused:
            self._alone = self._alone or ConfirmedProducer(
                self._settings, self._topic, batch_messages=1, stopping=self._stopping
            )
            refused = self._deliver(self._alone, refused)
            refused = [shorter for message in refused if (shorter := self._shorter(message))]

    def _deliver(self, producer: ConfirmedProducer, messages: Sequence[Outgoing]) -> list[Outgoing]:
        """Send the messages and return those that the topic refuses for their size."""
        refused = []
        for message, delivery in zip(messages, producer.deliver(messages), strict=True):
            if delivery.too_large:
                refused.append(message)
            elif delivery.problem:
                raise BrokerError(f"cannot write to the topic {self._topic}: {delivery.problem}")
        return refused

    def _message(self, letter: DeadLetter) -> Outgoing:
        headers = [
            ("reason", letter.reason),
            ("bytes", str(len(letter.raw))),
            ("topic", self._settings.topic),
            ("partition", str(letter.partition)),
            ("offset", str(letter.offset)),
        ]
        key = letter.key and letter.key[:_KEY_BYTES_MAX]
        return Outgoing(key, letter.raw[:_RAW_BYTES_MAX], headers)

    def _shorter(self, message: Outgoing) -> Outgoing | None:
        """Return half of the message; None where there is nothing left to leave out.

        The flow must not stop for it: the table has the letter.
        """
        value = message.value or b""
        if value or message.key:
            key = message.key and message.key[: len(message.key) // 2]
            return Outgoing(key, value[: len(value) // 2], message.headers)
        log.error(
            "a dead letter is only in the table: its topic takes not even the headers",
            dead_letter_topic=self._topic,
            **dict(message.headers[2:]),
        )
        return None


def _undelivered(error: KafkaError) -> Delivery:
    return Delivery(
        problem=error.str(),
        is_refused=error.code() in _REFUSALS,
        too_large=error.code() == KafkaError.MSG_SIZE_TOO_LARGE,
    )


def _is_told_by_delivery(_error: KafkaError) -> None:
    """Keep librdkafka from writing to standard error what `send` raises."""
