"""What really was an incident and what was none: intervals of services, to score against."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

LEAD_MS: Final = 60_000
"""How long before the start of a label an incident may be found and still be a hit."""


class Label(Struct, frozen=True, kw_only=True):
    """A time in which a service had an incident. All times are epoch ms.

    lead_ms: how long before its start the incident may be found.
    ignore_until_ms: from its end until then an incident is neither a hit nor false.
    kind, tier: of what kind it is and how hard to find, by whoever labelled it.
    """

    id: str
    service_id: str
    start_ms: int
    end_ms: int
    kind: str | None = None
    tier: str | None = None
    lead_ms: int = LEAD_MS
    ignore_until_ms: int | None = None


class Interval(Struct, frozen=True):
    """A time of a service; both ends belong to it."""

    service_id: str
    start_ms: int
    end_ms: int

    def has(self, service_id: str, at_ms: int) -> bool:
        """Tell whether a moment of a service lies in it."""
        return self.service_id == service_id and self.start_ms <= at_ms <= self.end_ms


class Labels(Struct, frozen=True, kw_only=True):
    """All that is known of a range.

    ignored: times in which an incident is neither a hit nor false. harmless: times in which one is
    false. complete: an incident about which nothing is known is false; else it is left open.
    """

    incidents: tuple[Label, ...] = ()
    ignored: tuple[Interval, ...] = ()
    harmless: tuple[Interval, ...] = ()
    complete: bool = True

    @property
    def services(self) -> set[str]:
        """All services of which anything is known."""
        known: Iterable[Label | Interval] = (*self.incidents, *self.ignored, *self.harmless)
        return {one.service_id for one in known}

    def of_services(self, services: Iterable[str]) -> "Labels":
        """Return those of some services."""
        own = frozenset(services)
        return Labels(
            incidents=tuple(one for one in self.incidents if one.service_id in own),
            ignored=tuple(one for one in self.ignored if one.service_id in own),
            harmless=tuple(one for one in self.harmless if one.service_id in own),
            complete=self.complete,
        )

    def begun_before(self, begin_ms: int) -> tuple[Label, ...]:
        """Return the incidents that had begun before a moment and were not over then."""
        return tuple(one for one in self.incidents if one.start_ms < begin_ms <= one.end_ms)

    def within(self, begin_ms: int, end_ms: int) -> "Labels":
        """Return what counts for a range, whose end is exclusive.

        What began before it can't be found in time any more: it is ignored there.
        """
        begun = self.begun_before(begin_ms)
        return Labels(
            incidents=tuple(one for one in self.incidents if begin_ms <= one.start_ms < end_ms),
            ignored=(
                *(one for one in self.ignored if one.start_ms < end_ms and one.end_ms >= begin_ms),
                *(Interval(one.service_id, one.start_ms, _over_ms(one)) for one in begun),
            ),
            harmless=tuple(
                one for one in self.harmless if one.start_ms < end_ms and one.end_ms >= begin_ms
            ),
            complete=self.complete,
        )


def _over_ms(label: Label) -> int:
    return label.end_ms if label.ignore_until_ms is None else label.ignore_until_ms
