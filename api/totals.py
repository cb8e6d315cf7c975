"""How many incidents a list has, counted no further than people read on."""

import time
from collections.abc import Callable
from typing import Final

from sql.incidents import IncidentFilter, IncidentTable

TOTAL_MAX: Final = 10_000
"""How far incidents are counted for a page: to count a million takes longer than to show twenty."""
FRESH_S: Final = 5.0
"""How long a worker believes that a list has more than TOTAL_MAX; of fewer it counts each time."""
_KNOWN_MAX = 1000


class Totals:
    """Counts lists; remembers which are long, since to count these takes longer than their page."""

    def __init__(
        self, incidents: IncidentTable, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._incidents = incidents
        self._clock = clock
        self._long_until: dict[IncidentFilter, float] = {}

    async def of(self, wanted: IncidentFilter) -> int:
        """Return how many incidents pass a filter, or TOTAL_MAX + 1 if there are more."""
        now = self._clock()
        long_until = self._long_until.get(wanted)
        if long_until is not None:
            if now < long_until:
                return TOTAL_MAX + 1
            # Of those who ask in the meantime none need count it, too.
            self._long_until[wanted] = now + FRESH_S
        total = await self._incidents.count(wanted, most=TOTAL_MAX + 1)
        if total <= TOTAL_MAX:
            self._long_until.pop(wanted, None)
        else:
            if len(self._long_until) >= _KNOWN_MAX:
                self._long_until.clear()
            self._long_until[wanted] = now + FRESH_S
        return total
