"""flow-graph: the dataflow without the database: the same steps, its sinks only count.

The records are on the topic before it starts. The limit is a bare consumer whose records msgspec
decodes. The rate on one core is by the process's processor time, its client's threads included.
"""

import os
import threading
import time
from typing import Any

from bytewax._bytewax import cli_main
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from bench.measurement import Figure
from bench.topic import consumer_rate, fill
from bench.workload import wire_records
from flows import garbage
from flows.detect import OneBook, detector_builder
from flows.known import NOTHING_KNOWN
from flows.parse import parse_batch
from flows.pipeline import Sinks, build_flow
from flows.room import Room
from flows.source import TopicSource
from flows.watch import TopicWatch
from stack.running import temporary
from tocsin.settings import Settings, load_settings
from tocsin.settings_versions import SettingsBook
from tocsin.topics import create_topics, describe_topic

ID = "flow-graph"


def run(records: int) -> list[Figure]:
    """Return the graph's rate beside the bare consumer's, and its rate on one core."""
    with temporary() as stack:
        settings = load_settings({**os.environ, **stack.environment})
        create_topics(settings)
        fill(stack.kafka_bootstrap, wire_records(records))
        took_s, processor_s = _read(settings, records)
        limit = consumer_rate(stack.kafka_bootstrap, records)
    return [
        Figure("graph", records / took_s, "records/s", limit, "bare consumer and msgspec"),
        Figure("graph, of one core", records / processor_s, "records/s"),
    ]


class _Counter(StatelessSinkPartition[Any]):
    """Counts records, and has the flow end when all have come."""

    def __init__(self, due: int, room: Room, stopping: threading.Event) -> None:
        self._due, self._room, self._stopping = due, room, stopping

    def write_batch(self, items: list[Any]) -> None:
        for _, batch in items:
            self._due -= len(batch)
            self._room.give_back(batch.weight)
        if self._due <= 0:
            self._stopping.set()


class _LogCounter(DynamicSink[Any]):
    def __init__(self, due: int, room: Room, stopping: threading.Event) -> None:
        self._counter = _Counter(due, room, stopping)

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Counter:
        return self._counter


class _Nothing(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        """Let it go."""


class _Nowhere(DynamicSink[Any]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nothing:
        return _Nothing()


def _read(settings: Settings, records: int) -> tuple[float, float]:
    """Run the graph over the topic; return the seconds, and those of the processor."""
    stopping = threading.Event()
    topic_id, partitions = describe_topic(settings, settings.topic)
    watch, room = TopicWatch(settings, topic_id, partitions), Room(partitions)
    source = TopicSource(
        settings,
        incarnation=1,
        partitions=partitions,
        stored_offset=lambda _: None,
        first_offset=lambda _: None,
        room=room,
        stopping=stopping,
        watch=watch,
    )
    sinks = Sinks(logs=_LogCounter(records, room, stopping), detection=_Nowhere())
    watch.start()
    detect = detector_builder(OneBook(SettingsBook.of_defaults()), NOTHING_KNOWN)
    began, processor_began = time.perf_counter(), time.process_time()
    try:
        with garbage.searched_for_seldom():
            cli_main(build_flow(source, parse_batch, detect, sinks), workers_per_process=1)
    finally:
        watch.finish()
    return time.perf_counter() - began, time.process_time() - processor_began
