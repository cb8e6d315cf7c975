"""A thread beside the flow that knows whether its topic is still as it was when it began."""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future

import structlog
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

from tocsin.errors import BrokerError, TopicMissing
from tocsin.settings import Settings
from tocsin.topics import REQUEST_TIMEOUT_S, admin_client, describe_topic

log = structlog.get_logger()

_EVERY_S = 2.0
_AWAY_S = 0.2
_ANSWER_S = 5.0


class TopicWatch:
    """Asks for the topic's id, again and again, and at once when a reader wants to be sure.

    A topic that was deleted and made again has another id, and its offsets start anew. A client
    that was reading the former one goes on in the new one without a word, so what it fetched is of
    the topic that it began with only if that topic is known to have been there afterwards.

    remade: set when the topic has another id, or when a reader saw its offsets go back.
    grown: set when it has partitions that nobody reads: the dataflow must be built with them.
    """

    def __init__(self, settings: Settings, topic_id: str, partitions: Iterable[int]) -> None:
        self._settings = settings
        self._topic_id = topic_id
        self._partitions = frozenset(partitions)
        self._admin = admin_client(settings)
        self._is_away = False
        self._asked = threading.Event()
        self._finished = threading.Event()
        self._seen_at = 0.0
        self.remade = threading.Event()
        self.grown = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """End soon: nothing waits for a broker that does not answer."""
        self._finished.set()
        self._asked.set()

    def ask(self) -> None:
        """Have the topic looked at now."""
        self._asked.set()

    def ask_end(self, place: TopicPartition) -> tuple[AdminClient, "Future[ListOffsetsResultInfo]"]:
        """Have the broker asked for the end of a partition; return who asks, and the answer.

        Keep both: of a client that is replaced and gone no answer ever comes, and one whose last
        holder is its own thread ends the process.
        """
        admin, spec = self._admin, {place: OffsetSpec.latest()}
        return admin, admin.list_offsets(spec, request_timeout=REQUEST_TIMEOUT_S)[place]

    def is_over(self) -> bool:
        """Tell whether the topic is no longer the one that the flow began with."""
        return self.remade.is_set() or self.grown.is_set()

    def was_there_at(self, moment: float) -> bool:
        """Tell whether the topic is known to have been there at a moment (`time.monotonic`)."""
        return self._seen_at >= moment

    def _run(self) -> None:
        while not self._finished.is_set():
            self._asked.wait(_EVERY_S)
            self._asked.clear()
            asked_at = time.monotonic()
            try:
                topic_id, partitions = describe_topic(
                    self._settings, self._settings.topic, admin=self._admin, timeout_s=_ANSWER_S
                )
            except BrokerError as error:
                # Away, or deleted and not made again yet: whoever asked goes on waiting.
                self._note_absence(error, time.monotonic() - asked_at)
                self._finished.wait(_AWAY_S)
                self._asked.set()
                continue
            if self._is_away:
                self._is_away = False
                log.info("Kafka answers again")
            if topic_id != self._topic_id:
                self.remade.set()
                return
            if added := sorted(frozenset(partitions) - self._partitions):
                log.warning("partitions were added: reading them, too", partitions=added)
                self.grown.set()
                return
            self._seen_at = asked_at

    def _note_absence(self, error: BrokerError, took_s: float) -> None:
        if isinstance(error, TopicMissing):
            return
        if not self._is_away:
            self._is_away = True
            log.warning("Kafka is away, trying again", problem=str(error))
        if took_s > _ANSWER_S / 2:
            self._admin = admin_client(self._settings)
