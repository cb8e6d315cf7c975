"""Bytewax step: one detector a service, fed with its runs, giving what they changed."""

from collections.abc import Callable, Iterable

from bytewax.operators import StatefulBatchLogic
from msgspec import Struct

from flows.cut import ServiceRuns
from flows.detector import Detector
from flows.rows import Outcome
from flows.snapshot import DetectorSnapshot
from tocsin.detection import SettingsTimeline


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
