"""The newest records of the topic, as they come: a consumer of this process alone, in a thread.

It belongs to no group and commits nothing: it starts at the end, and what it misses is no loss.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from msgspec import Struct

from tocsin.errors import BrokerError, TopicMissing
from tocsin.records import (
    LogRecord,
    Refused,
    event_us_of,
    level_of,
    metadata_of,
    parse_record,
    refuse_untimely,
)
from tocsin.settings import Settings
from tocsin.topics import client_config

LAG_MAX = 50_000
"""Further behind than this the source leaps to the end."""
_REST = 3
"""So many times as long as it works the thread rests: its time is taken from the requests."""
REFRESH_S = 5.0
_ANSWER_S = 5.0
_BATCH = 500
_WAIT_S = 0.2

log = structlog.get_logger(__name__)


class Arrived(Struct, frozen=True):
    """A record that keeps the contract, as it arrived. level: as it will be stored."""

    record: LogRecord
    level: str
    metadata: str | None
    arrival_ms: int


Deliver = Callable[[list[Arrived], int], None]
"""Takes the records of a batch and how many were skipped before it; called in the thread."""


class TailSource:
    """Reads the topic from its end on until it is stopped."""

    def __init__(
        self,
        settings: Settings,
        deliver: Deliver,
        *,
        lag_max: int = LAG_MAX,
    ) -> None:
        self._topic = settings.topic
        self._deliver = deliver
        self._lag_max = lag_max
        self._stopping = threading.Event()
        self._ready: Future[None] = Future()
        self._begun: dict[int, int] = {}
        self._config = {
            **client_config(settings, "tocsin-api-tail"),
            "group.id": "tocsin-api-tail",  # the client asks for one; it is never joined
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 16 * 1024,
        }
        self._consumer = Consumer(self._config)
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)

    async def start(self) -> None:
        """Begin, and return once every record that comes from now on will be delivered.

        Raises BrokerError when Kafka does not answer.
        """
        self._thread.start()
        await asyncio.wrap_future(self._ready)

    @property
    def is_reading(self) -> bool:
        """Whether it has not ended, for whatever reason."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End soon; nothing is delivered once the thread has seen it."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            self._begin({part: self._end(part) for part in self._partitions()})
        except (KafkaException, BrokerError) as error:
            self._consumer.close()
            known = error if isinstance(error, BrokerError) else None
            self._ready.set_exception(known or BrokerError("Kafka does not answer"))
            return
        self._ready.set_result(None)
        try:
            self._read()
        except KafkaException as error:
            log.warning("the live tail stops reading", error=error.args[0].str())
        finally:
            self._consumer.close()

    def _read(self) -> None:
        refreshed = time.monotonic()
        while not self._stopping.is_set():
            skipped = self._leap()
            messages = self._consumer.consume(_BATCH, timeout=_WAIT_S)
            began = time.monotonic()
            if (messages or skipped) and not self._stopping.is_set():
                self._deliver(list(_arrived(messages)), skipped)
                self._stopping.wait(_REST * (time.monotonic() - began))
            if began - refreshed > REFRESH_S:
                refreshed = began
                self._refresh()

    def _leap(self) -> int:
        """Go to the end if it is too far ahead; return how many records that skips."""
        places = []
        for place in self._consumer.position(self._consumer.assignment()):
            _, end = self._consumer.get_watermark_offsets(place, cached=True)
            if place.offset >= 0 and end > place.offset:
                places.append((place, end))
        lag = sum(end - place.offset for place, end in places)
        if lag <= self._lag_max:
            return 0
        for place, end in places:
            self._begun[place.partition] = end
            self._consumer.seek(TopicPartition(self._topic, place.partition, end))
        return lag

    def _partitions(self) -> list[int]:
        found = self._consumer.list_topics(self._topic, timeout=_ANSWER_S).topics[self._topic]
        if found.error is not None or not found.partitions:
            raise TopicMissing(f"there is no topic {self._topic}: run `tocsin migrate`")
        return sorted(found.partitions)

    def _end(self, part: int) -> int:
        place = TopicPartition(self._topic, part)
        return self._consumer.get_watermark_offsets(place, timeout=_ANSWER_S)[1]

    def _begin(self, offsets: dict[int, int]) -> None:
        """Read these partitions, too, each from an offset on."""
        self._begun |= offsets
        self._consumer.incremental_assign(
            [TopicPartition(self._topic, part, offset) for part, offset in offsets.items()]
        )

    def _refresh(self) -> None:
        """Read a partition that was added, from its beginning.

        A client that gets no answer is replaced: it may have lost the broker for good, as
        `flows.partition_client` says.
        """
        try:
            added = [part for part in self._partitions() if part not in self._begun]
        except (KafkaException, BrokerError):  # away; the next round asks again
            self._replace()
        else:
            self._begin(dict.fromkeys(added, 0))

    def _replace(self) -> None:
        reached = {
            place.partition: place.offset
            for place in self._consumer.position(self._consumer.assignment())
            if place.offset >= 0
        }
        self._consumer.close()
        self._consumer = Consumer(self._config)
        self._begin(self._begun | reached)


def _arrived(messages: Iterable[Message]) -> Iterable[Arrived]:
    """Yield what keeps the contract; the rest is put aside by the flow."""
    for message in messages:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                log.info("kafka", error=error.str())
            continue
        _, arrival_ms = message.timestamp()
        try:
            record = parse_record(message.value() or b"")
            refuse_untimely(event_us_of(record.timestamp), arrival_ms)
            yield Arrived(record, level_of(record.level), metadata_of(record), arrival_ms)
        except Refused:
            continue
