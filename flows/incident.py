"""One incident while it lives, and the journal of what happened to a service's incidents."""

from msgspec import Struct

from flows.baseline import Baseline, GuardedBaseline
from flows.rows import IncidentEvent
from flows.windows import Windows
from tocsin.detection import (
    WINDOW_MS,
    IncidentKind,
    Moment,
    Preset,
    ResolveReason,
    Severity,
    incident_id,
    silence_id,
)


class Incident(Struct):
    """An incident; windows by number.

    opening: gives the id and never changes. low: oldest window that belongs to it.
    confirming, resolved: None until confirmed, resolved.
    hot: newest window that was abnormal. calm: closed windows in a row that were not.
    count, plain, guarded, settings_version: evidence, of the opening window; decided_by: on which
        of the two baselines it is abnormal, on which more so if on both.
    """

    kind: IncidentKind
    opening: int
    low: int
    hot: int
    severity: Severity
    peak_z: float
    opened_at_ms: int
    detected_late: bool
    count: int
    plain: Baseline
    guarded: GuardedBaseline | None
    settings_version: int
    decided_by: Preset
    confirming: int | None = None
    confirmed_at_ms: int | None = None
    calm: int = 0
    absorbed: bool = False
    resolved: int | None = None
    resolved_at_ms: int | None = None
    reason: ResolveReason | None = None

    def id_of(self, service_id: str) -> str:
        """Return the id: of the service, the opening window and the kind."""
        name = incident_id if self.kind is IncidentKind.ERRORS else silence_id
        return name(service_id, self.opening * WINDOW_MS)


class Journal:
    """What happened to the incidents of one service, of either kind, since the last drain.

    ended: those that were resolved. events: every step.
    """

    __slots__ = ("ended", "events", "service_id")

    def __init__(self, service_id: str) -> None:
        self.service_id = service_id
        self.ended: list[Incident] = []
        self.events: list[IncidentEvent] = []

    def note(
        self,
        moment: Moment,
        incident: Incident,
        window: int,
        windows: Windows,
        count: int | None = None,
        z: float | None = None,
    ) -> None:
        """Write down a step; count, z: of the window, None where a closing decided."""
        self.events.append(
            IncidentEvent(
                incident_id=incident.id_of(self.service_id),
                service_id=self.service_id,
                moment=moment,
                at_ms=windows.now_ms,
                window_start_ms=window * WINDOW_MS,
                severity=incident.severity,
                count=count,
                z=z,
                offset=windows.offset,
            )
        )
