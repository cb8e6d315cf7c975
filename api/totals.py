"""Pages of incidents with how many there are, counted no further than people read on."""

import time
from collections.abc import Callable
from typing import Final

from api.paging import Page
from sql.incidents import IncidentFilter, IncidentRow, IncidentTable

TOTAL_MAX: Final = 10_000
"""How far incidents are counted for a page: to count a million takes longer than to show twenty."""
FRESH_S: Final = 5.0
"""How long a worker believes that a list has more than TOTAL_MAX; of fewer it counts each time."""
_MOST = TOTAL_MAX + 1
_KNOWN_MAX = 1000


class Totals:
    """Counts lists; remembers which are long, since to count these takes longer than their page."""

    def __init__(
        self, incidents: IncidentTable, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._incidents = incidents
        self._clock = clock
        self._long_until: dict[IncidentFilter, float] = {}

    async def page(self, wanted: IncidentFilter, page: Page) -> tuple[list[IncidentRow], int]:
        """Return a page of the incidents that pass a filter, and how many do so in all.

        That is TOTAL_MAX + 1 where there are more.
        """
        asked_at = self._clock()
        is_long = self._is_long(wanted, asked_at)
        rows, total = await self._incidents.page(
            wanted, limit=page.limit, offset=page.offset, most=0 if is_long else _MOST
        )
        if total is None:
            total = page.total_if_last(len(rows))
        if total is None and is_long:
            return rows, _MOST
        if total is None:
            total = await self._incidents.count(wanted, most=_MOST)
        self._remember(wanted, total, asked_at)
        return rows, total

    def _is_long(self, wanted: IncidentFilter, now: float) -> bool:
        until = self._long_until.get(wanted)
        if until is None or now < until:
            return until is not None
        # Of those who ask while this one counts, none need count, too.
        self._long_until[wanted] = now + FRESH_S
        return False

    def _remember(self, wanted: IncidentFilter, total: int, asked_at: float) -> None:
        if total <= TOTAL_MAX:
            self._long_until.pop(wanted, None)
            return
        if len(self._long_until) >= _KNOWN_MAX:
            self._long_until.clear()
        self._long_until[wanted] = asked_at + FRESH_S
