"""The load: two thousand records a second and more, over HTTP and straight to Kafka.

It knows of every record whether it was acknowledged. It gives up nothing: what HTTP did not
acknowledge is sent again with the same ids, what Kafka did not is left to the idempotent producer;
unless that is lost, with what it held.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial

import httpx
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stack.waiting import wait_until
from tests.faults.fleet import HISTORY_WINDOWS, QUIET_RECORDS, Course
from tocsin.topics import PARTITIONER

HTTP_ONLY = ("http-0", "http-1", "http-2")
KAFKA_ONLY = ("kafka-0", "kafka-1", "kafka-2")
BOTH = ("both-0", "both-1", "both-2")
SERVICES = (*HTTP_ONLY, *KAFKA_ONLY, *BOTH)
_BATCH = 180
_EVERY_S = 0.1
"""Each sender: a batch so often, which makes 2,700 records a second of both."""
_BEHIND_S = 8.0
"""A sender that was held up makes up for at most so much, at full speed."""
_AGAIN_S = 0.05
_SETTLED_S = 120
_DOUBTED_S = 20.0
_LOST_S = 10.0
"""A producer that has lost the broker for good (see `flows.partition_client`): it acknowledges
nothing for the former, and the latter beside one that is answered."""

Name = tuple[str, int]
Send = Callable[[list[tuple[Name, bytes]]], None]


class Load:
    """The senders and what became of what they sent.

    sent: every record that may be in the topic. acknowledged: those that must be. attempts_again:
        how often a batch was posted again. posted: batches acknowledged over HTTP; last_body: the
        newest of them. rate: records acknowledged a second, outages included.
    """

    def __init__(
        self,
        *,
        topic: str,
        bootstrap: str,
        ingest: Callable[[bytes], httpx.Response],
        seed: int,
    ) -> None:
        start = datetime.now(timezone.utc) - timedelta(hours=20)
        self.course = Course(start.replace(second=0, microsecond=0), seed)
        self.sent: set[Name] = set()
        self.acknowledged: set[Name] = set()
        self.attempts_again = 0
        self.posted = 0
        self.last_body = b""
        self.rate = 0.0
        self._topic = topic
        self._ingest = ingest
        self._numbers = dict.fromkeys(SERVICES, 0)
        # Where its history went: a partition that is added takes no service away.
        self._partitions: dict[str, int] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._http_ended = threading.Event()
        self._is_abandoned = threading.Event()
        self._failed: list[BaseException] = []
        self._refused: list[str] = []
        self._bootstrap = bootstrap
        self._producer = self._new_producer()
        self._acknowledged_at = self._asked_at = time.monotonic()
        self._answered_since: float | None = None
        self._threads = [
            threading.Thread(target=self._run, args=sender, daemon=True)
            for sender in (
                ((*HTTP_ONLY, *BOTH), True, self._over_http, self._http_ended),
                ((*KAFKA_ONLY, *BOTH), False, self._to_kafka, self._ended),
            )
        ]

    def begin(self) -> None:
        """Send the history, then begin to send at a steady rate."""
        self._history()
        self._before = self.count
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def end_http(self) -> None:
        """End what goes over HTTP: the API's producer chooses the partitions, not this load."""
        self._http_ended.set()
        over_http, _ = self._threads
        over_http.join(_SETTLED_S)

    @property
    def goes_over_http(self) -> bool:
        """Whether its HTTP part has not ended."""
        return not self._http_ended.is_set()

    def finish(self) -> None:
        """End the senders, wait for every acknowledgement that is due, send the quiet end."""
        self._http_ended.set()
        self._ended.set()
        for thread in self._threads:
            thread.join(_SETTLED_S)
            assert not thread.is_alive(), "a sender was not acknowledged for two minutes"
        self._settle()
        self.rate = (self.count - self._before) / (time.monotonic() - self._began)
        for service in SERVICES:
            last = self._numbers[service] - 1
            tail = self.course.tail(service, last)
            records = [((service, last + 1 + i), raw) for i, raw in enumerate(tail)]
            self.sent.update(name for name, _ in records)
            self._to_kafka(records)
        self._settle()
        assert not self._refused, self._refused[:3]
        if self._failed:
            raise self._failed[0]

    def post_again(self, body: bytes) -> None:
        """Post once more what was acknowledged, like a client that did not hear of it."""
        assert self._ingest(body).status_code == httpx.codes.ACCEPTED

    def send_service(self, service: str, count: int, partition: int) -> None:
        """Send a service of its own to a partition, and wait for the acknowledgements."""
        names = [(service, number) for number in range(count)]
        self.sent.update(names)
        # One that has just come to know the topic, with all its partitions.
        producer = self._new_producer()
        self._produce(producer, self._records(names, with_id=False), partition=partition)
        assert producer.flush(_SETTLED_S) == 0, "Kafka reports nothing"

    def abandon(self) -> None:
        """End the senders of a test that failed."""
        self._http_ended.set()
        self._ended.set()
        self._is_abandoned.set()
        self._producer.purge()

    @property
    def count(self) -> int:
        """How many records were acknowledged so far."""
        return len(self.acknowledged)

    def wait_for_more(self, records: int) -> None:
        """Wait until so many more were acknowledged: the load is going."""
        goal = self.count + records
        wait_until(lambda: self.count >= goal, f"{records} more records", deadline_s=_SETTLED_S)

    def _history(self) -> None:
        for service in SERVICES:
            names = self._next([service], HISTORY_WINDOWS * QUIET_RECORDS)
            self._to_kafka(self._records(names, with_id=False))
        self._settle()

    def _run(
        self, services: Sequence[str], with_id: bool, send: Send, ended: threading.Event
    ) -> None:
        try:
            due = time.monotonic()
            while not ended.wait(max(0.0, due - time.monotonic())):
                due = max(due + _EVERY_S, time.monotonic() - _BEHIND_S)
                send(self._records(self._next(services, _BATCH), with_id=with_id))
        except Exception as error:  # noqa: BLE001  (the edge of a thread: raised by `finish`)
            self._failed.append(error)

    def _next(self, services: Sequence[str], count: int) -> list[Name]:
        """Take the next numbers: each service's rise, whoever sends them."""
        with self._lock:
            names = []
            for i in range(count):
                service = services[i % len(services)]
                # A service that both send has the rate of the others.
                if service in BOTH and i // len(services) % 2 and count == _BATCH:
                    continue
                names.append((service, self._numbers[service]))
                self._numbers[service] += 1
            self.sent.update(names)
            return names

    def _records(self, names: Sequence[Name], *, with_id: bool) -> list[tuple[Name, bytes]]:
        return [(name, self.course.record(*name, with_id=with_id)) for name in names]

    def _over_http(self, records: list[tuple[Name, bytes]]) -> None:
        """Post until it is acknowledged, always with the same ids."""
        body = b"[" + b",".join(raw for _, raw in records) + b"]"
        while True:
            try:
                answer = self._ingest(body)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code == httpx.codes.ACCEPTED:
                    refused = answer.json()["refused"]
                    self._refused += [str(one) for one in refused]
                    self.acknowledged.update(name for name, _ in records)
                    self.posted += 1
                    self.last_body = body
                    return
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise AssertionError(f"{answer.status_code}: {answer.text}")
            self.attempts_again += 1
            # Also after the end: what was begun is brought to its end.
            if self._is_abandoned.wait(_AGAIN_S):
                return

    def _to_kafka(self, records: list[tuple[Name, bytes]]) -> None:
        self._renew_if_lost()
        self._produce(self._producer, records)

    def _renew_if_lost(self) -> None:
        now = time.monotonic()
        if not len(self._producer) or now - self._acknowledged_at < _DOUBTED_S:
            self._answered_since = None
        elif now - self._asked_at > _LOST_S / 4:
            self._asked_at = now
            try:
                self._new_producer().list_topics(self._topic, timeout=1)
            except KafkaException:
                self._answered_since = None
                return
            self._answered_since = self._answered_since or now
            if now - self._answered_since > _LOST_S:
                self._producer.purge()
                self._producer = self._new_producer()
                self._acknowledged_at = now

    def _produce(
        self, producer: Producer, records: list[tuple[Name, bytes]], partition: int = -1
    ) -> None:
        for name, raw in records:
            while True:
                try:
                    producer.produce(
                        self._topic,
                        raw,
                        name[0].encode(),
                        self._partitions.get(name[0], partition),
                        partial(self._delivered, name),
                    )
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        producer.poll(0)

    def _delivered(self, name: Name, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._acknowledged_at = time.monotonic()
            self.acknowledged.add(name)
            self._partitions.setdefault(name[0], message.partition() or 0)

    def _new_producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": PARTITIONER,
                "compression.type": "lz4",
                "linger.ms": 5,
                "delivery.timeout.ms": 600_000,
                "reconnect.backoff.max.ms": 500,
                # See `tocsin.topics.client_config`.
                "metadata.recovery.rebootstrap.trigger.ms": 5_000,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 2,
                "error_cb": lambda _error: None,
            }
        )

    def _settle(self) -> None:
        def is_settled() -> bool:
            self._renew_if_lost()
            return self._producer.flush(1) == 0

        wait_until(is_settled, "Kafka has reported on all", deadline_s=_SETTLED_S)
