"""Which services of a partition have fallen silent: their clocks are moved by others' arrivals."""

from collections import OrderedDict

from tocsin.detection import WINDOW_MS, DetectionSettings
from tocsin.records import AHEAD_MS_MAX


class IdleServices:
    """The services of one partition by the arrival of their last record, the most silent first.

    `due` answers once a minute of arrival time: more often would move no clock.
    """

    def __init__(self, settings: DetectionSettings) -> None:
        self._idle_ms = settings.idle_ms
        self._margin_ms = settings.idle_margin_ms
        # Past this silence every window of a service has closed, and it is forgotten.
        self._forgotten_ms = (
            settings.retirement_windows * WINDOW_MS
            + settings.idle_margin_ms
            + AHEAD_MS_MAX
            + 2 * WINDOW_MS
        )
        self._last_ms: OrderedDict[str, int] = OrderedDict()
        self._told: int | None = None

    def heard(self, service_id: str, arrival_ms: int) -> None:
        """Note a record of a service."""
        self._last_ms[service_id] = arrival_ms
        self._last_ms.move_to_end(service_id)

    def due(self, arrival_ms: int) -> list[str]:
        """Return the services whose clocks an arrival in the partition moves on."""
        target = (arrival_ms - self._margin_ms) // WINDOW_MS
        if self._told is not None and target <= self._told:
            return []
        self._told = target
        due = []
        for service_id, last_ms in self._last_ms.items():
            if arrival_ms - last_ms <= self._idle_ms:
                break
            due.append(service_id)
        for service_id in due:
            if arrival_ms - self._last_ms[service_id] <= self._forgotten_ms:
                break
            del self._last_ms[service_id]
        return due

    def state(self) -> tuple[int | None, list[tuple[str, int]]]:
        """Return what recovery keeps."""
        return self._told, list(self._last_ms.items())

    @classmethod
    def restore(
        cls, settings: DetectionSettings, state: tuple[int | None, list[tuple[str, int]]]
    ) -> "IdleServices":
        """Return the services of which `state` was taken."""
        services = cls(settings)
        services._told = state[0]
        services._last_ms = OrderedDict(state[1])
        return services
