"""The dataflow on one screen: from raw batches to stored logs, windows and incidents.

The live flow and a backtest are this one: they differ in where it begins and ends, and in what a
service's runs go to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import Sink

from flows.cut import ServiceRuns
from flows.detect import cutter
from flows.known import NOTHING_KNOWN, Known
from flows.repeats import IDS_MAX, RepeatLogic, SeenBefore, nothing_seen
from flows.sinks import DetectionSink, Progress
from flows.source import part_name
from tocsin.batches import RecordBatch

Read = TypeVar("Read")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Sinks(Generic[Found]):
    """Where the dataflow ends.

    logs: records and dead letters, keyed by partition. detection: what the detectors found, with
    the progress of the partitions, under one key.
    """

    logs: Sink[tuple[str, RecordBatch]]
    detection: Sink[tuple[str, Found | Progress]]


def build_flow(
    source: Source[Read],
    parse: Callable[[Read], RecordBatch],
    detect: Callable[[Any], StatefulBatchLogic[ServiceRuns, Found, Any]],
    sinks: Sinks[Found],
    known: Known = NOTHING_KNOWN,
    seen_before: SeenBefore = nothing_seen,
    ids_max: int = IDS_MAX,
) -> Dataflow:
    """Return the dataflow. Its step ids key the recovery state: renaming one loses it.

    parse: what was read to records. detect: returns, given its state, what a service's runs go to.
    known: the services that go on where their rows end, having no recovery state.
    seen_before: the ids that records had before the first one that is read.
    ids_max: how many ids are remembered of a partition.
    """
    flow = Dataflow("tocsin")

    raw = op.input("read", flow, source)
    records = op.map("parse", raw, parse)
    keyed = op.key_on("by_partition", records, lambda batch: part_name(batch.partition))
    by_partition = op.stateful_batch(
        "drop_repeats", keyed, lambda _: RepeatLogic(seen_before, ids_max)
    )
    op.output("store_logs", by_partition, sinks.logs)

    runs = op.stateful_batch("cut", by_partition, cutter(known))
    by_service = op.map("by_service", runs, lambda keyed: (keyed[1].service_id, keyed[1]))
    found = op.stateful_batch("detect", by_service, detect)
    progress = op.map("progress", records, _progress)
    ledger = op.merge("ledger", op.map("rekey", found, _rekey), progress)
    op.output("store_detection", ledger, sinks.detection)
    return flow


def _progress(batch: RecordBatch) -> tuple[str, Any]:
    progress = Progress(batch.incarnation, batch.partition, batch.next_offset)
    return DetectionSink.KEY, progress


def _rekey(keyed: tuple[str, Any]) -> tuple[str, Any]:
    return DetectionSink.KEY, keyed[1]
