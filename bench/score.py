"""Scores incidents against labels: precision, recall, false incidents, delay.

Times are in ms and windows in minutes, both from the labels' start or from the epoch. A moment
(t, w) of an incident matches a label [a, b] of its service iff t >= a - 60 s, w <= b + 90 s and
w + 120 s > a. The first match of a label counts and gives its delay max(0, t - a); a further one is
a duplicate; a moment inside a step's `dontcare_until` or inside a `dontcare` interval is ignored;
anything else is a false incident.
"""

import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from flows.rows import IncidentRow
from tocsin.detection import WINDOW_MS

Labels = dict[str, Any]

_LASTING: Final = ("silence", "small_step")
_LASTING_MS: Final = 30 * 60_000
_PASSING_MS: Final = 2 * 60_000
"""For so long after its end a harmless disturbance is the cause of a false incident."""


class Scored(NamedTuple):
    """The moments of one incident, as (time in ms, window)."""

    service: str
    moments: list[tuple[int, int]]


class Score(NamedTuple):
    """Measures over all labels; delays from the true start."""

    hits: int
    precision: float
    recall: float
    recall_clear: float
    f1: float
    false_per_service_day: float
    duplicates_per_hit: float
    delay_median_s: float
    delay_p90_s: float


def confirmations(incidents: Iterable[IncidentRow]) -> list[Scored]:
    """Return the confirmed incidents, at the moment of their confirmation."""
    return [
        Scored(row.service_id, confirmed) for row in incidents if (confirmed := _confirmed(row))
    ]


def openings(incidents: Iterable[IncidentRow]) -> list[Scored]:
    """Return every incident, at its opening and, where that matches nothing, its confirmation."""
    return [
        Scored(
            row.service_id,
            [(row.opened_at_ms, row.window_start_ms // WINDOW_MS), *_confirmed(row)],
        )
        for row in incidents
    ]


def _confirmed(row: IncidentRow) -> list[tuple[int, int]]:
    if row.confirmed_at_ms is None or row.confirmed_start_ms is None:
        return []
    return [(row.confirmed_at_ms, row.confirmed_start_ms // WINDOW_MS)]


def score_incidents(labels: Labels, incidents: Iterable[Scored]) -> Score:
    """Hold incidents against the labels of the same services."""
    delays, duplicates, false = _matched(labels, incidents)
    return _summary(labels, delays, duplicates, len(false))


def false_by_cause(labels: Labels, incidents: Iterable[Scored]) -> Counter[str]:
    """Count false incidents by the harmless disturbance that they fall on, else as noise."""
    _, _, false = _matched(labels, incidents)
    return Counter(_cause(labels, incident) for incident in false)


def found_by(field: str, labels: Labels, incidents: Iterable[Scored]) -> dict[str, tuple[int, int]]:
    """Return how many labels of each `kind` or `tier` are found, and of how many."""
    delays, _, _ = _matched(labels, incidents)
    every = Counter(one[field] for one in labels["incidents"])
    found = Counter(one[field] for one in labels["incidents"] if one["id"] in delays)
    return {value: (found[value], count) for value, count in sorted(every.items())}


def _matched(
    labels: Labels, incidents: Iterable[Scored]
) -> tuple[dict[Any, float], int, list[Scored]]:
    """Return the delays of the labels that were hit, the number of duplicates, false incidents."""
    t0_ms = labels["t0_ms"]
    delays: dict[Any, float] = {}
    duplicates, false = 0, []
    for incident in sorted(incidents, key=lambda one: (one.moments[0][0], one.service)):
        mine = [one for one in labels["incidents"] if one["service"] == incident.service]
        hit = _first_match(mine, incident.moments, t0_ms)
        if hit is None:
            if not _ignored(labels, mine, incident, t0_ms):
                false.append(incident)
        elif hit[0]["id"] in delays:
            duplicates += 1
        else:
            delays[hit[0]["id"]] = max(0, hit[1] - (hit[0]["start"] - t0_ms)) / 1000
    return delays, duplicates, false


def _cause(labels: Labels, incident: Scored) -> str:
    at_ms = incident.moments[0][0] + labels["t0_ms"]
    for benign in labels["benign"]:
        ours = benign["service"] == incident.service
        after_ms = _LASTING_MS if benign["kind"] in _LASTING else _PASSING_MS
        if ours and benign["start"] - 60_000 <= at_ms <= benign["end"] + after_ms:
            return str(benign["kind"])
    return "noise"


def _first_match(
    labels: list[Labels], moments: list[tuple[int, int]], t0_ms: int
) -> tuple[Labels, int] | None:
    for time_ms, window in moments:
        for label in labels:
            start, end = label["start"] - t0_ms, label["end"] - t0_ms
            window_ms = window * WINDOW_MS
            in_time = time_ms >= start - 60_000 and window_ms <= end + 90_000
            if in_time and window_ms + 120_000 > start:
                return label, time_ms
    return None


def _ignored(labels: Labels, mine: list[Labels], incident: Scored, t0_ms: int) -> bool:
    for time_ms, _ in incident.moments:
        absolute_ms = time_ms + t0_ms
        for label in mine:
            if "dontcare_until" in label and label["end"] < absolute_ms <= label["dontcare_until"]:
                return True
        for quiet in labels.get("dontcare", []):
            ours = quiet["service"] == incident.service
            if ours and quiet["start"] <= absolute_ms <= quiet["end"]:
                return True
    return False


def _summary(labels: Labels, delays: dict[Any, float], duplicates: int, false: int) -> Score:
    clear = [one["id"] for one in labels["incidents"] if one["tier"] == "clear"]
    hits, ordered = len(delays), sorted(delays.values())
    precision, recall = hits / max(1, hits + false), hits / len(labels["incidents"])
    return Score(
        hits=hits,
        precision=precision,
        recall=recall,
        recall_clear=sum(one in delays for one in clear) / max(1, len(clear)),
        f1=2 * precision * recall / max(1e-9, precision + recall),
        false_per_service_day=false / (labels["days"] * len(labels["services"])),
        duplicates_per_hit=duplicates / max(1, hits),
        delay_median_s=statistics.median(ordered),
        delay_p90_s=ordered[int(0.9 * (hits - 1))],
    )
