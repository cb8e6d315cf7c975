"""Bytewax steps: batches are cut into runs, and each service's detector is fed with its own."""

from collections.abc import Callable, Iterable
from typing import Protocol

from bytewax.operators import StatefulBatchLogic
from msgspec import Struct

from flows.cut import ServiceRuns, cut_runs
from flows.detector import Detector
from flows.idle import IdleServices
from flows.rows import Outcome
from flows.snapshot import DetectorSnapshot
from tocsin.batches import RecordBatch
from tocsin.detection import WINDOW_MS, DetectionSettings
from tocsin.settings_versions import SettingsBook

CutState = tuple[int | None, list[tuple[str, int]]]


class CutLogic(StatefulBatchLogic[RecordBatch, ServiceRuns, CutState]):
    """Cuts the batches of one partition into runs, and tells its silent services the time."""

    def __init__(self, state: CutState | None) -> None:
        # What a service's clock runs on is the same in every version of the settings.
        settings = DetectionSettings()
        self._idle_ms = settings.idle_ms
        self._services = (
            IdleServices(settings) if state is None else IdleServices.restore(settings, state)
        )

    def on_batch(self, values: list[RecordBatch]) -> tuple[Iterable[ServiceRuns], bool]:
        """Give out each service's runs, then the advances of those that the batch leaves silent."""
        cut: list[ServiceRuns] = []
        for batch in values:
            spoke = cut_runs(batch, self._idle_ms)
            for service in sorted(spoke, key=_last_arrival_ms):
                self._services.heard(service.service_id, _last_arrival_ms(service))
            cut += spoke
            if batch.read_until_ms is not None:
                cut += [
                    ServiceRuns(service_id, batch.incarnation, [], batch.read_until_ms)
                    for service_id in self._services.due(batch.read_until_ms)
                ]
        return cut, StatefulBatchLogic.RETAIN

    def snapshot(self) -> CutState:
        """Return who was last heard when."""
        return self._services.state()


def _last_arrival_ms(service: ServiceRuns) -> int:
    return service.runs[-1].last_arrival_ms


class Changes(Struct, frozen=True):
    """What one service's detector changed; its offsets are of this incarnation of the topic."""

    incarnation: int
    outcome: Outcome


class ServiceState(Struct, frozen=True):
    """What recovery keeps of a service."""

    incarnation: int
    detector: DetectorSnapshot


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


class DetectLogic(StatefulBatchLogic[ServiceRuns, Changes, ServiceState | None]):
    """The detector of one service; made when its first record comes, for only that names it."""

    def __init__(self, books: Books, state: ServiceState | None) -> None:
        self._books = books
        self._detector: Detector | None = None
        if state is not None:
            self._incarnation = state.incarnation
            service_id = state.detector.service_id
            self._book = books.book_for(0)
            self._detector = Detector.restore(state.detector, self._book.timeline(service_id))

    def on_batch(self, values: list[ServiceRuns]) -> tuple[Iterable[Changes], bool]:
        """Apply the runs in order and give out, once, all that they changed."""
        detector = self._ready(values)
        for value in values:
            if value.runs:
                # A topic that was made again counts its offsets anew; its service goes on.
                self._incarnation = value.incarnation
            for run in value.runs:
                detector.apply(run)
            if value.advance_ms is not None:
                detector.advance(value.advance_ms)
        return [Changes(self._incarnation, detector.drain())], StatefulBatchLogic.RETAIN

    def snapshot(self) -> ServiceState | None:
        """Return the state as it is now."""
        if self._detector is None:
            return None
        return ServiceState(self._incarnation, self._detector.snapshot())

    def _ready(self, values: list[ServiceRuns]) -> Detector:
        """Return the detector, with settings that may judge every window of these runs."""
        newest = max((run.window for value in values for run in value.runs), default=0)
        book = self._books.book_for(newest * WINDOW_MS)
        if self._detector is None:
            service_id = values[0].service_id
            self._detector = Detector(service_id, book.timeline(service_id))
            self._incarnation = values[0].incarnation
        elif book is not self._book:
            self._detector.adopt(book.timeline(self._detector.service_id))
        self._book = book
        return self._detector


def detector_builder(books: Books) -> Callable[[ServiceState | None], DetectLogic]:
    """Return what Bytewax calls for a service that it meets, or finds in the recovery store."""
    return lambda state: DetectLogic(books, state)
