"""What other settings would change: two candidates' incidents, side by side."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from flows.rows import IncidentRow
from flows.scoring import Scored

_FOR_EVER_MS: Final = 2**62


class Difference(str, Enum):
    """What becomes of an incident under other settings."""

    NEW = "new"
    GONE = "gone"
    EARLIER = "earlier"
    LATER = "later"
    SAME = "same"


class Change(Struct, frozen=True):
    """One incident under both. shift_s: by how much later it is told; negative: earlier."""

    what: Difference
    before: IncidentRow | None
    after: IncidentRow | None
    shift_s: float | None

    @property
    def service_id(self) -> str:
        """Whose incident it is."""
        row = self.after or self.before
        return row.service_id if row else ""


def compare(before: Iterable[Scored], after: Iterable[Scored]) -> list[Change]:
    """Pair the incidents of each service that overlap in time, and tell what becomes of each.

    Each is paired once, the earlier first: of two incidents that were one, the later is new. What
    is compared are their first moments.
    """
    olds, news = _by_service(before), _by_service(after)
    return [
        change
        for service_id in sorted({*olds, *news})
        for change in _compare(olds.get(service_id, []), news.get(service_id, []))
    ]


def _compare(olds: Sequence[Scored], news: Sequence[Scored]) -> list[Change]:
    # Those of one side never overlap one another: a service has one open incident at most.
    changes, left, right = [], 0, 0
    while left < len(olds) and right < len(news):
        old, new = olds[left], news[right]
        (old_low, old_high), (new_low, new_high) = _span(old), _span(new)
        if old_high < new_low:
            changes.append(Change(Difference.GONE, old.incident, None, None))
            left += 1
        elif new_high < old_low:
            changes.append(Change(Difference.NEW, None, new.incident, None))
            right += 1
        else:
            changes.append(_pair(old, new))
            left, right = left + 1, right + 1
    changes += [Change(Difference.GONE, old.incident, None, None) for old in olds[left:]]
    changes += [Change(Difference.NEW, None, new.incident, None) for new in news[right:]]
    return changes


def _pair(old: Scored, new: Scored) -> Change:
    shift_ms = new.moments[0][0] - old.moments[0][0]
    what = Difference.SAME
    if shift_ms:
        what = Difference.LATER if shift_ms > 0 else Difference.EARLIER
    return Change(what, old.incident, new.incident, shift_ms / 1000)


def _span(one: Scored) -> tuple[int, int]:
    """Return the first and the last window of an incident; an open one has no end."""
    row = one.incident
    if row is None:
        return one.moments[0][1], one.moments[0][1]
    end_ms = _FOR_EVER_MS if row.resolved_start_ms is None else row.resolved_start_ms
    return row.low_start_ms, end_ms


def _by_service(incidents: Iterable[Scored]) -> dict[str, list[Scored]]:
    by_service = defaultdict(list)
    for one in incidents:
        by_service[one.service_id].append(one)
    for own in by_service.values():
        own.sort(key=lambda one: (_span(one), one.moments[0]))
    return by_service
