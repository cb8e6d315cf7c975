"""What Tocsin itself writes to Kafka: each message confirmed before the next step is taken."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer
from msgspec import Struct

from tocsin.batches import DeadLetter
from tocsin.errors import BrokerError
from tocsin.settings import Settings
from tocsin.topics import PARTITIONER, REQUEST_TIMEOUT_S

_RAW_BYTES_MAX = 900 * 1024
_KEY_BYTES_MAX = 16 * 1024


class Outgoing(Struct, frozen=True):
    """A message to be."""

    key: bytes | None
    value: bytes
    headers: list[tuple[str, str]] = []


class ConfirmedProducer:
    """Sends messages to one topic and waits for Kafka's acknowledgement of each."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "client.id": "tocsin-flow",
                "acks": "all",
                "enable.idempotence": True,
                # A topic that a broker makes by itself has the wrong settings.
                "allow.auto.create.topics": False,
                "partitioner": PARTITIONER,
                "compression.type": "lz4",
                "delivery.timeout.ms": int(REQUEST_TIMEOUT_S * 1000),
                "error_cb": _is_told_by_delivery,
            }
        )

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send the messages in order; raise BrokerError if one was not acknowledged.

        Then some may have been written all the same: their reader tells them by their content.
        """
        problems: list[KafkaError] = []
        confirmed = 0

        def delivered(error: KafkaError | None, _message: Message) -> None:
            nonlocal confirmed
            confirmed += 1
            if error is not None:
                problems.append(error)

        for message in messages:
            while True:
                try:
                    self._producer.produce(
                        self._topic,
                        message.value,
                        message.key,
                        headers=list(message.headers),
                        on_delivery=delivered,
                    )
                except BufferError:
                    self._producer.poll(0.1)
                else:
                    break
        self._producer.flush(2 * REQUEST_TIMEOUT_S)
        if problems or confirmed < len(messages):
            reason = problems[0].str() if problems else "no answer in time"
            raise BrokerError(f"cannot write to the topic {self._topic}: {reason}")


class DeadLetterTopic:
    """The topic of what was put aside: raw bytes as they came, the reason in the headers.

    Of a record that is larger than what a topic takes by default, only the beginning is sent; the
    header `bytes` tells its size, and the table of dead letters has it whole.

    At least once: topic, partition and offset in the headers tell a letter that comes twice.
    """

    def __init__(self, settings: Settings) -> None:
        self._source = settings.topic
        self._producer = ConfirmedProducer(settings, settings.dead_letter_topic)

    def announce(self, letters: Sequence[DeadLetter]) -> None:
        """Send the letters and wait until they are safe; raise BrokerError if they are not."""
        self._producer.send(
            [
                Outgoing(
                    letter.key and letter.key[:_KEY_BYTES_MAX],
                    letter.raw[:_RAW_BYTES_MAX],
                    [
                        ("reason", letter.reason),
                        ("bytes", str(len(letter.raw))),
                        ("topic", self._source),
                        ("partition", str(letter.partition)),
                        ("offset", str(letter.offset)),
                    ],
                )
                for letter in letters
            ]
        )


def _is_told_by_delivery(_error: KafkaError) -> None:
    """Keep librdkafka from writing to standard error what `send` raises."""
