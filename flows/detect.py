"""Bytewax steps: batches are cut into runs, and each service's detector is fed with its own."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import structlog
from bytewax.operators import StatefulBatchLogic
from msgspec import Struct
from msgspec.structs import replace

from flows import metrics
from flows.cut import ServiceRuns, cut_runs
from flows.detector import Detector
from flows.idle import IdleServices
from flows.known import Known, Place, ServiceState
from flows.rows import Outcome, Run
from tocsin.batches import RecordBatch
from tocsin.detection import WINDOW_MS, DetectionSettings
from tocsin.settings_versions import SettingsBook

log = structlog.get_logger()


class CutState(Struct, frozen=True):
    """What recovery keeps of a partition: who was last heard when, and what to leave out still.

    counted: offset of the last record of a service that its rows count already, in this
        incarnation of the topic.
    """

    told: int | None
    heard: list[tuple[str, int]]
    incarnation: int
    counted: dict[str, int]


class CutLogic(StatefulBatchLogic[RecordBatch, ServiceRuns, CutState]):
    """Cuts the batches of one partition into runs, and tells its silent services the time.

    Services that are known by their rows are named at once, so that a snapshot has all of them.
    """

    def __init__(self, state: CutState | None, known: Known) -> None:
        # What a service's clock runs on is the same in every version of the settings.
        settings = DetectionSettings()
        self._idle_ms = settings.idle_ms
        self._is_new = state is None
        self._known = known
        self._counted: dict[str, int] = {}
        self._incarnation = 0
        self._services = IdleServices(settings)
        if state is not None:
            self._services = IdleServices.restore(settings, (state.told, state.heard))
            self._incarnation, self._counted = state.incarnation, state.counted

    def on_batch(self, values: list[RecordBatch]) -> tuple[Iterable[ServiceRuns], bool]:
        """Give out each service's runs, then the advances of those that the batch leaves silent."""
        cut: list[ServiceRuns] = []
        for batch in values:
            if self._is_new:
                self._is_new = False
                cut += self._take_up(batch)
            spoke = cut_runs(self._uncounted(batch), self._idle_ms)
            for service in sorted(spoke, key=_last_arrival_ms):
                self._services.heard(service.service_id, _last_arrival_ms(service))
            cut += spoke
            until_ms = self._services.within_reach(batch.read_until_ms)
            if until_ms is not None:
                cut += [
                    ServiceRuns(service_id, batch.incarnation, batch.partition, [], until_ms)
                    for service_id in self._services.due(until_ms)
                ]
        return cut, StatefulBatchLogic.RETAIN

    def snapshot(self) -> CutState:
        """Return who was last heard when."""
        told, heard = self._services.state()
        return CutState(told, heard, self._incarnation, self._counted)

    def _take_up(self, batch: RecordBatch) -> list[ServiceRuns]:
        """Take up the services that are known to be of this partition, and name them."""
        self._incarnation = batch.incarnation
        known = self._known.of_partition(batch.partition)
        for service in known:
            self._services.heard(service.service_id, service.arrival_ms)
            place = service.place
            if (place.incarnation, place.partition) == (batch.incarnation, batch.partition):
                self._counted[service.service_id] = place.offset
        return [
            ServiceRuns(service.service_id, batch.incarnation, batch.partition, [])
            for service in known
        ]

    def _uncounted(self, batch: RecordBatch) -> RecordBatch:
        """Leave out what the rows, from which a lost state was rebuilt, count already."""
        if not self._counted or not len(batch):
            return batch
        counted = self._counted
        if batch.incarnation != self._incarnation or batch.offset[0] > max(counted.values()):
            self._counted = {}
            return batch
        return batch.without(
            {
                index
                for index, (service_id, offset) in enumerate(
                    zip(batch.service_id, batch.offset, strict=True)
                )
                if offset <= counted.get(service_id, -1)
            }
        )


def _last_arrival_ms(service: ServiceRuns) -> int:
    return service.runs[-1].last_arrival_ms


class Changes(Struct, frozen=True):
    """What one service's detector changed, as of its record at a place."""

    place: Place
    outcome: Outcome


class Books(Protocol):
    """Where the versions of the detection settings come from."""

    def book_for(self, window_start_ms: int, /) -> SettingsBook:
        """Return a book that knows every version which may judge a window."""


class OneBook:
    """Settings that do not change while the flow runs: a replay's, or a test's."""

    def __init__(self, book: SettingsBook) -> None:
        self._book = book

    def book_for(self, _window_start_ms: int, /) -> SettingsBook:
        """Return the book, whatever the window."""
        return self._book


class StateAsOfNow:
    """A service's state, packed when it is pickled, or before it changes if that comes first.

    When an epoch ends Bytewax asks all services for theirs, and pickles one after the other only
    then. Packed at once, each would be in memory twice.
    """

    __slots__ = ("_pack", "_packed")

    def __init__(self, pack: Callable[[], bytes]) -> None:
        self._pack = pack
        self._packed: bytes | None = None

    def settle(self) -> bytes:
        """Return the state, packed; it is kept from now on as it is."""
        if self._packed is None:
            self._packed = self._pack()
        return self._packed

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        """Pickle as the packed state itself."""
        return bytes, (self.settle(),)


class DetectLogic(StatefulBatchLogic[ServiceRuns, Changes, StateAsOfNow | None]):
    """The detector of one service; made when its first record comes, for only that names it.

    state: a `ServiceState`, packed.
    """

    def __init__(self, books: Books, known: Known, state: bytes | None) -> None:
        self._books = books
        self._known = known
        self._detector: Detector | None = None
        self._asked_for: StateAsOfNow | None = None
        if state is not None:
            self._restore(ServiceState.unpacked(state))

    def on_batch(self, values: list[ServiceRuns]) -> tuple[Iterable[Changes], bool]:
        """Apply the runs in order and give out, once, all that they changed."""
        if self._asked_for is not None:
            self._asked_for.settle()
        detector = self._ready(values)
        for value in values:
            for run in self._in_order(value, detector):
                detector.apply(run)
                clock = detector.clock
                if clock is not None and run.window < clock - 1:
                    metrics.LATE.inc(run.total)
            if value.advance_ms is not None:
                detector.advance(value.advance_ms)
        return [Changes(self._place, detector.drain())], StatefulBatchLogic.RETAIN

    def snapshot(self) -> StateAsOfNow | None:
        """Return the state as it is now."""
        if self._detector is not None:
            self._asked_for = StateAsOfNow(partial(self._packed, self._detector))
        return self._asked_for

    def _packed(self, detector: Detector) -> bytes:
        self._asked_for = None
        return ServiceState(self._place, detector.snapshot()).packed()

    def _restore(self, state: ServiceState) -> Detector:
        self._place = state.place
        service_id = state.detector.service_id
        self._book = self._books.book_for(0)
        self._detector = Detector.restore(state.detector, self._book.timeline(service_id))
        return self._detector

    def _in_order(self, value: ServiceRuns, detector: Detector) -> list[Run]:
        """Return the runs with offsets that never go back, as the rows of a service want them.

        Offsets of two partitions have nothing to do with each other: of a service that strays
        from one to another, the highest one so far counts. A topic that was made again counts its
        offsets anew; its services go on.
        """
        if not value.runs:
            return value.runs
        former = self._place
        is_same_topic = value.incarnation == former.incarnation
        moves = is_same_topic and value.partition != former.partition
        if moves and not former.strays:
            metrics.STRAYS.inc()
            log.warning(
                "a service logs to several partitions, as after some were added: give its records "
                "its id as their key, for only within a partition is there an order to judge in",
                service=value.service_id,
                partitions=sorted((former.partition, value.partition)),
            )
        strays = is_same_topic and (moves or former.strays)
        last = value.runs[-1].offset
        self._place = Place(value.incarnation, value.partition, last, strays)
        if not strays:
            return value.runs
        highest = detector.offset or 0
        runs = []
        for run in value.runs:
            highest = max(highest, run.offset)
            runs.append(replace(run, offset=highest))
        return runs

    def _ready(self, values: list[ServiceRuns]) -> Detector:
        """Return the detector, with settings that know every window that may open now."""
        newest = max((run.window for value in values for run in value.runs), default=0)
        advance_ms = max(value.advance_ms or 0 for value in values)
        book = self._books.book_for(max(newest * WINDOW_MS, advance_ms))
        detector = self._detector or self._begin(values[0], book)
        if book is not self._book:
            detector.adopt(book.timeline(detector.service_id))
            self._book = book
        return detector

    def _begin(self, value: ServiceRuns, book: SettingsBook) -> Detector:
        """Make the detector, anew or as the rows of its service tell."""
        state = self._known.state_of(value.service_id)
        if state is not None:
            return self._restore(state)
        self._place = Place(value.incarnation, value.partition, -1)
        self._book = book
        self._detector = Detector(value.service_id, book.timeline(value.service_id))
        return self._detector


def cutter(known: Known) -> Callable[[CutState | None], CutLogic]:
    """Return what Bytewax calls for a partition that it meets, or finds in the recovery store."""
    return lambda state: CutLogic(state, known)


def detector_builder(books: Books, known: Known) -> Callable[[bytes | None], DetectLogic]:
    """Return what Bytewax calls for a service that it meets, or finds in the recovery store."""
    return lambda state: DetectLogic(books, known, state)
