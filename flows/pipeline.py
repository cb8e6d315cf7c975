"""The dataflow on one screen: from raw batches to stored logs, windows and incidents."""

from dataclasses import dataclass

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.detect import Books, Changes, cutter, detector_builder
from flows.known import NOTHING_KNOWN, Known
from flows.parse import parse_batch
from flows.repeats import IDS_MAX, RepeatLogic, SeenBefore, nothing_seen
from flows.sinks import DetectionSink, Progress
from flows.source import part_name
from tocsin.batches import RawBatch, RecordBatch


@dataclass(frozen=True)
class Sinks:
    """Where the dataflow ends.

    logs: records and dead letters, keyed by partition. detection: windows and incidents with the
    progress of the partitions, under one key.
    """

    logs: Sink[tuple[str, RecordBatch]]
    detection: Sink[tuple[str, Changes | Progress]]


def build_flow(
    source: Source[RawBatch],
    sinks: Sinks,
    books: Books,
    known: Known = NOTHING_KNOWN,
    seen_before: SeenBefore = nothing_seen,
    ids_max: int = IDS_MAX,
) -> Dataflow:
    """Return the dataflow. Its step ids key the recovery state: renaming one loses it.

    known: the services that go on where their rows end, having no recovery state.
    seen_before: the ids that records had before the first one that is read.
    ids_max: how many ids are remembered of a partition.
    """
    flow = Dataflow("tocsin")

    raw = op.input("read", flow, source)
    records = op.map("parse", raw, parse_batch)
    keyed = op.key_on("by_partition", records, lambda batch: part_name(batch.partition))
    by_partition = op.stateful_batch(
        "drop_repeats", keyed, lambda _: RepeatLogic(seen_before, ids_max)
    )
    op.output("store_logs", by_partition, sinks.logs)

    runs = op.stateful_batch("cut", by_partition, cutter(known))
    by_service = op.map("by_service", runs, lambda keyed: (keyed[1].service_id, keyed[1]))
    changes = op.stateful_batch("detect", by_service, detector_builder(books, known))
    progress = op.map("progress", records, _progress)
    ledger = op.merge("ledger", op.map("rekey", changes, _rekey), progress)
    op.output("store_detection", ledger, sinks.detection)
    return flow


def _progress(batch: RecordBatch) -> tuple[str, Changes | Progress]:
    progress = Progress(batch.incarnation, batch.partition, batch.next_offset)
    return DetectionSink.KEY, progress


def _rekey(keyed: tuple[str, Changes]) -> tuple[str, Changes | Progress]:
    return DetectionSink.KEY, keyed[1]
