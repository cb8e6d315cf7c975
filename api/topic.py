"""The topic that the API writes to: whether it is there, and which one of its name it is."""

import asyncio
from concurrent.futures import TimeoutError as Late
from functools import partial

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from tocsin.errors import BrokerError, TopicMissing
from tocsin.settings import Settings
from tocsin.topics import client_config, id_of

_MARGIN_S = 1.0


class Topic:
    """Asks for the topic in the one way that makes no broker create it.

    A broker that creates topics does so when a metadata request names one and allows it. A
    describing client never allows it; the producer is told not to.
    """

    def __init__(self, settings: Settings) -> None:
        self._name = settings.topic
        self._config = client_config(settings, "tocsin-api-topic")
        self._client = AdminClient(self._config)

    async def ask(self, timeout_s: float) -> str:
        """Return the topic's id: one that was deleted and made again has another.

        Raises TopicMissing, or BrokerError when the broker does not answer.
        """
        named = TopicCollection([self._name])
        try:
            answer = self._client.describe_topics(named, request_timeout=timeout_s)[self._name]
            wait = partial(answer.result, timeout_s + _MARGIN_S)
            found = await asyncio.get_running_loop().run_in_executor(None, wait)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicMissing(
                    f"there is no topic {self._name}: run `tocsin migrate`"
                ) from None
            raise self._unanswered() from None
        except Late:
            raise self._unanswered() from None
        return id_of(found)

    def _unanswered(self) -> BrokerError:
        """Have another client, for this one may have lost the broker for good, and say so."""
        self._client = AdminClient(self._config)
        return BrokerError("Kafka does not answer")
