"""Holds incidents against labels: precision, recall, false incidents, the time to detect.

A moment (t, w) of an incident, t the arrival of the record that decided and w its window, matches a
label [a, b] of its service iff t >= a - 60 s (or the label's own lead), w <= b + 90 s and
w + 120 s > a (w + 60 s > a - lead). The first match of a label counts and gives the time to detect,
max(0, t - a); a further one is a duplicate; a moment in what is ignored is neither; anything else
is a false incident, or left open where the labels are not complete and nobody has called it
harmless.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct

from flows.labels import Interval, Label, Labels
from flows.rows import IncidentRow
from tocsin.detection import WINDOW_MS, IncidentKind

_Of = TypeVar("_Of", Label, Interval)
_AFTER_MS: Final = 90_000


class Scored(NamedTuple):
    """The moments of one incident, as (time in ms, window number); the first is the telling one."""

    service_id: str
    moments: list[tuple[int, int]]
    incident: IncidentRow | None = None


class Finding(str, Enum):
    """What an incident is, by the labels."""

    HIT = "hit"
    DUPLICATE = "duplicate"
    FALSE = "false"
    IGNORED = "ignored"
    UNLABELLED = "unlabelled"


class Judged(NamedTuple):
    """An incident with what it is. label: that it falls on; delay_s: of a hit."""

    scored: Scored
    finding: Finding
    label: Label | None = None
    delay_s: float | None = None


class Measures(Struct, frozen=True, kw_only=True):
    """The measures of some services. What cannot be said, for want of labels, is None.

    incidents: all that were found. unlabelled: of which nobody has said whether they are any.
    detect_*_s: seconds from the label's start, of hits.
    """

    labels: int
    incidents: int
    hits: int
    false: int
    duplicates: int
    ignored: int
    unlabelled: int
    precision: float | None
    recall: float | None
    f1: float | None
    false_per_service_day: float | None
    detect_median_s: float | None
    detect_p95_s: float | None


def confirmations(incidents: Iterable[IncidentRow]) -> list[Scored]:
    """Return the confirmed incidents of errors, at the moment of their confirmation."""
    return [
        Scored(row.service_id, confirmed, row)
        for row in incidents
        if row.kind is IncidentKind.ERRORS and (confirmed := _confirmed(row))
    ]


def openings(incidents: Iterable[IncidentRow]) -> list[Scored]:
    """Return all incidents of errors, at the opening or where that hits nothing, confirmation."""
    return [
        Scored(
            row.service_id,
            [(row.opened_at_ms, row.window_start_ms // WINDOW_MS), *_confirmed(row)],
            row,
        )
        for row in incidents
        if row.kind is IncidentKind.ERRORS
    ]


def judge(labels: Labels, incidents: Iterable[Scored]) -> list[Judged]:
    """Tell of every incident what it is, in the order of their moments."""
    by_service = _by_service(labels.incidents)
    ignored, harmless = _by_service(labels.ignored), _by_service(labels.harmless)
    taken: set[str] = set()
    judged = []
    for one in sorted(incidents, key=lambda scored: (scored.moments[0][0], scored.service_id)):
        own = by_service.get(one.service_id, ())
        match = _first_match(own, one.moments)
        if match is None:
            quiet = ignored.get(one.service_id, ())
            known = harmless.get(one.service_id, ())
            judged.append(Judged(one, _unmatched(one, own, quiet, known, labels.complete)))
            continue
        label, at_ms = match
        if label.id in taken:
            judged.append(Judged(one, Finding.DUPLICATE, label))
            continue
        taken.add(label.id)
        judged.append(Judged(one, Finding.HIT, label, max(0, at_ms - label.start_ms) / 1000))
    return judged


def measure(judged: Sequence[Judged], *, labels: int, service_days: float) -> Measures:
    """Return the measures of what was judged, of so many labels and over so many service-days."""
    counts = dict.fromkeys(Finding, 0)
    for one in judged:
        counts[one.finding] += 1
    hits, false = counts[Finding.HIT], counts[Finding.FALSE]
    left_open = counts[Finding.UNLABELLED]
    delays = sorted(one.delay_s for one in judged if one.delay_s is not None)
    return Measures(
        labels=labels,
        incidents=len(judged),
        hits=hits,
        false=false,
        duplicates=counts[Finding.DUPLICATE],
        ignored=counts[Finding.IGNORED],
        unlabelled=left_open,
        precision=_ratio(hits, hits + false),
        recall=_ratio(hits, labels),
        # The harmonic mean of precision and recall; without any hit it is 0.
        f1=_ratio(2 * hits, hits + false + labels) if labels else None,
        # Where all that was told is open, it may all be false.
        false_per_service_day=_ratio(false, service_days)
        if hits + false or not left_open
        else None,
        detect_median_s=statistics.median(delays) if delays else None,
        detect_p95_s=percentile(delays, 95),
    )


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the nearest-rank percentile of ascending values; None of none.

    It is the least of them that so many percent do not exceed.

    >>> percentile([1.0, 2.0, 3.0, 4.0, 50.0], 95)
    50.0
    """
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else None


def _confirmed(row: IncidentRow) -> list[tuple[int, int]]:
    if row.confirmed_at_ms is None or row.confirmed_start_ms is None:
        return []
    return [(row.confirmed_at_ms, row.confirmed_start_ms // WINDOW_MS)]


def _first_match(
    labels: Iterable[Label], moments: Iterable[tuple[int, int]]
) -> tuple[Label, int] | None:
    for time_ms, window in moments:
        for label in labels:
            earliest_ms = label.start_ms - label.lead_ms
            begins_ms = window * WINDOW_MS
            in_time = time_ms >= earliest_ms and begins_ms <= label.end_ms + _AFTER_MS
            if in_time and begins_ms + WINDOW_MS > earliest_ms:
                return label, time_ms
    return None


def _unmatched(
    one: Scored,
    own: Iterable[Label],
    ignored: Iterable[Interval],
    harmless: Iterable[Interval],
    complete: bool,
) -> Finding:
    moments_ms = [time_ms for time_ms, _ in one.moments]
    for label in own:
        until_ms = label.ignore_until_ms
        if until_ms is not None and any(label.end_ms < at_ms <= until_ms for at_ms in moments_ms):
            return Finding.IGNORED
    if any(quiet.has(one.service_id, at_ms) for quiet in ignored for at_ms in moments_ms):
        return Finding.IGNORED
    if complete or any(
        known.has(one.service_id, at_ms) for known in harmless for at_ms in moments_ms
    ):
        return Finding.FALSE
    return Finding.UNLABELLED


def _by_service(known: Iterable[_Of]) -> Mapping[str, list[_Of]]:
    by_service = defaultdict(list)
    for one in known:
        by_service[one.service_id].append(one)
    return by_service


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
