"""Records that a client sent again: the same id of the same service within ten minutes is one.

What was seen is not part of the recovery store: the stored logs know it. So a flow that starts
asks them for the ids of the ten minutes before the first record that has one.
"""

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import psycopg
import structlog
from bytewax.operators import StatefulBatchLogic

from flows import metrics
from sql.connect import SilentDatabase, connect
from sql.recent_ids import read_recent_ids
from tocsin.batches import RecordBatch
from tocsin.errors import StorageError
from tocsin.settings import Settings

log = structlog.get_logger()

REPEAT: Final = timedelta(minutes=10)
_REPEAT_MS: Final = REPEAT // timedelta(milliseconds=1)
IDS_MAX: Final = 4_000_000
"""Ids that are remembered, of all partitions together: about 200 bytes each, 400 the longest.

Past that the oldest of a partition are forgotten before their time.
"""
_AWAY_S = 1.0

Seen = Iterable[tuple[str, str, int]]
"""(service, id, arrival in ms), in the order of their arrival."""
SeenBefore = Callable[[RecordBatch], Seen]
"""Returns what was seen in the REPEAT before a batch's first record, in its partition."""


class RepeatLogic(StatefulBatchLogic[RecordBatch, RecordBatch, None]):
    """Takes out of the batches of one partition what was seen before; remembers `ids_max` ids."""

    def __init__(self, seen_before: SeenBefore, ids_max: int = IDS_MAX) -> None:
        self._seen_before = seen_before
        self._ids_max = ids_max
        self._arrivals: dict[str, int] | None = None
        self._has_said_full = False

    def on_batch(self, values: list[RecordBatch]) -> tuple[Iterable[RecordBatch], bool]:
        """Give out each batch without its repeats; its offsets are passed all the same."""
        return [self._first_ones(batch) for batch in values], StatefulBatchLogic.RETAIN

    def snapshot(self) -> None:
        """Return nothing: the stored logs know the rest."""

    def _first_ones(self, batch: RecordBatch) -> RecordBatch:
        if not any(batch.id):
            return batch
        if self._arrivals is None:
            self._arrivals = {
                _key(service_id, id_): arrival_ms
                for service_id, id_, arrival_ms in self._seen_before(batch)
            }
        arrivals, repeats = self._arrivals, set()
        for index, (service_id, id_, arrival_ms) in enumerate(
            zip(batch.service_id, batch.id, batch.arrival_ms, strict=True)
        ):
            if id_ is None:
                continue
            key = _key(service_id, id_)
            seen_ms = arrivals.get(key)
            if seen_ms is not None and arrival_ms - seen_ms <= _REPEAT_MS:
                repeats.add(index)
                continue
            # The newest stand at the end.
            arrivals.pop(key, None)
            arrivals[key] = arrival_ms
        self._forget(arrivals, batch.arrival_ms[-1])
        if not repeats:
            return batch
        metrics.REPEATS.inc(len(repeats))
        return batch.without(repeats)

    def _forget(self, arrivals: dict[str, int], now_ms: int) -> None:
        over = []
        for number, (key, seen_ms) in enumerate(arrivals.items()):
            if now_ms - seen_ms <= _REPEAT_MS and number >= len(arrivals) - self._ids_max:
                break
            over.append(key)
        if len(arrivals) > self._ids_max and not self._has_said_full:
            self._has_said_full = True
            log.warning(
                "more ids in ten minutes than are remembered: older repeats are stored again",
                remembered=self._ids_max,
            )
        for key in over:
            del arrivals[key]


def _key(service_id: str, id_: str) -> str:
    """Return a key that no other service's id has: neither holds a NUL."""
    return f"{service_id}\0{id_}"


def nothing_seen(_batch: RecordBatch, /) -> Seen:
    """Return nothing: there are no logs before the first record."""
    return ()


def seen_in(settings: Settings, stopping: threading.Event, ids_max: int) -> SeenBefore:
    """Return what asks the stored logs, and waits for the database where it is away."""

    def seen_before(batch: RecordBatch) -> Seen:
        said, patience_s = False, settings.database_patience_s
        while True:
            try:
                with connect(
                    settings.database_url,
                    name="flow-repeats",
                    patience_s=patience_s,
                    stopping=stopping,
                ) as conn:
                    return read_recent_ids(conn, batch, REPEAT, most=ids_max)
            except (psycopg.OperationalError, StorageError) as error:
                if isinstance(error, SilentDatabase):
                    patience_s *= 2  # it may have much to sort
                problem = " ".join(str(error).split())
                if stopping.is_set():
                    raise StorageError(f"stopped while the database was away: {problem}") from None
                if not said:
                    said = True
                    log.warning("cannot read the recent ids, trying again", problem=problem)
                stopping.wait(_AWAY_S)  # should that end it, the database may be back by then

    return seen_before
