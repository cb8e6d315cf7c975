"""Bytewax steps: batches are cut into runs, and each service's detector is fed with its own."""

from collections.abc import Callable, Iterable

from bytewax.operators import StatefulBatchLogic
from msgspec import Struct

from flows.cut import ServiceRuns, cut_runs
from flows.detector import Detector
from flows.idle import IdleServices
from flows.rows import Outcome
from flows.snapshot import DetectorSnapshot
from tocsin.batches import RecordBatch
from tocsin.detection import DetectionSettings, SettingsTimeline

CutState = tuple[int | None, list[tuple[str, int]]]


class CutLogic(StatefulBatchLogic[RecordBatch, ServiceRuns, CutState]):
    """Cuts the batches of one partition into runs, and tells its silent services the time."""

    def __init__(self, settings: DetectionSettings, state: CutState | None) -> None:
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


def cut_builder(settings: DetectionSettings) -> Callable[[CutState | None], CutLogic]:
    """Return what Bytewax calls for a partition that it meets, or finds in the recovery store."""
    return lambda state: CutLogic(settings, state)


def _last_arrival_ms(service: ServiceRuns) -> int:
    return service.runs[-1].last_arrival_ms


class Changes(Struct, frozen=True):
    """What one service's detector changed; its offsets are of this incarnation of the topic."""

    incarnation: int
    outcome: Outcome


class ServiceState(Struct, frozen=True):
    """What recovery keeps of a service."""

    service_id: str
    incarnation: int
    detector: DetectorSnapshot


class DetectLogic(StatefulBatchLogic[ServiceRuns, Changes, ServiceState | None]):
    """The detector of one service; made when its first record comes, for only that names it."""

    def __init__(self, timeline: SettingsTimeline, state: ServiceState | None) -> None:
        self._timeline = timeline
        self._detector: Detector | None = None
        if state is not None:
            self._service_id = state.service_id
            self._incarnation = state.incarnation
            self._detector = Detector.restore(state.detector, timeline)

    def on_batch(self, values: list[ServiceRuns]) -> tuple[Iterable[Changes], bool]:
        """Apply the runs in order and give out, once, all that they changed."""
        if self._detector is None:
            self._service_id = values[0].service_id
            self._detector = Detector(self._service_id, self._timeline)
        for value in values:
            # A topic that was made again counts its offsets anew; its service goes on.
            self._incarnation = value.incarnation
            for run in value.runs:
                self._detector.apply(run)
            if value.advance_ms is not None:
                self._detector.advance(value.advance_ms)
        return [Changes(self._incarnation, self._detector.drain())], StatefulBatchLogic.RETAIN

    def snapshot(self) -> ServiceState | None:
        """Return the state as it is now."""
        if self._detector is None:
            return None
        return ServiceState(self._service_id, self._incarnation, self._detector.snapshot())


def detector_builder(
    timeline: SettingsTimeline,
) -> Callable[[ServiceState | None], DetectLogic]:
    """Return what Bytewax calls for a service that it meets, or finds in the recovery store."""
    return lambda state: DetectLogic(timeline, state)
