"""The topic of what was put aside: raw bytes as they came, the reason in the headers."""

from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, Message, Producer

from tocsin.batches import DeadLetter
from tocsin.errors import BrokerError
from tocsin.settings import Settings
from tocsin.topics import PARTITIONER, REQUEST_TIMEOUT_S


class DeadLetterTopic:
    """Sends dead letters. At least once: (topic, partition, offset) in the headers tells them."""

    def __init__(self, settings: Settings) -> None:
        self._source = settings.topic
        self._topic = settings.dead_letter_topic
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "client.id": "tocsin-dead-letters",
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": PARTITIONER,
                "compression.type": "lz4",
                "message.max.bytes": 4 * 1024 * 1024,
                "delivery.timeout.ms": int(REQUEST_TIMEOUT_S * 1000),
            }
        )

    def announce(self, letters: Sequence[DeadLetter]) -> None:
        """Send the letters and wait for Kafka's acknowledgement of each.

        Raises BrokerError if one was not acknowledged.
        """
        problems: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                problems.append(error)

        for letter in letters:
            self._produce(letter, delivered)
        self._producer.flush(2 * REQUEST_TIMEOUT_S)
        if problems:
            raise BrokerError(f"cannot write to {self._topic}: {problems[0].str()}")

    def _produce(
        self, letter: DeadLetter, delivered: Callable[[KafkaError | None, Message], None]
    ) -> None:
        headers = {
            "reason": letter.reason,
            "topic": self._source,
            "partition": str(letter.partition),
            "offset": str(letter.offset),
        }
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    letter.raw,
                    letter.key,
                    headers=list(headers.items()),
                    on_delivery=delivered,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return
