"""Which services of a partition have fallen silent: their clocks are moved by others' arrivals."""

from collections import OrderedDict
from typing import Final

from tocsin.detection import WINDOW_MS, DetectionSettings
from tocsin.records import AHEAD_MS_MAX

WINDOWS_AT_ONCE: Final = 100_000
"""So many windows at most are opened by one telling, but one of each service in any case.

Each makes a row, of some 400 bytes until it is written: after hours in which a partition had no
record at all, thousands of services would make millions of rows at once.
"""


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
        self._until_ms: int | None = None

    def heard(self, service_id: str, arrival_ms: int) -> None:
        """Note a record of a service."""
        self._last_ms[service_id] = arrival_ms
        self._last_ms.move_to_end(service_id)

    def within_reach(self, arrival_ms: int | None) -> int | None:
        """Return the arrival that the silent services may be told of now, if there is one.

        After a long gap that lies in between: they are told in steps, a step a call.
        arrival_ms: the newest in the partition; None where nothing new is known.
        """
        if arrival_ms is not None:
            self._until_ms = max(arrival_ms, self._until_ms or 0)
        until_ms = self._until_ms
        if until_ms is None or not self._last_ms:
            return until_ms
        target = (until_ms - self._margin_ms) // WINDOW_MS
        told = self._told
        if told is None:
            told = next(iter(self._last_ms.values())) // WINDOW_MS
        if target <= told + 1:
            return until_ms
        silent = self._count_silent(until_ms)
        reach = told + max(WINDOWS_AT_ONCE // max(silent, 1), 1)
        return until_ms if target <= reach else reach * WINDOW_MS + self._margin_ms

    def _count_silent(self, arrival_ms: int) -> int:
        for number, last_ms in enumerate(self._last_ms.values()):
            if arrival_ms - last_ms <= self._idle_ms:
                return number
        return len(self._last_ms)

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
