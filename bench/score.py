"""Scores the recorded series: the product's measures, by their labels with tiers and disturbances.

Times are in ms and windows in minutes, from the labels' start.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from flows.labels import Interval, Label
from flows.labels import Labels as KnownLabels
from flows.scoring import Finding, Judged, Scored, judge, measure

Labels = dict[str, Any]

_LASTING: Final = ("silence", "small_step")
_LASTING_MS: Final = 30 * 60_000
_PASSING_MS: Final = 2 * 60_000
"""For so long after its end a harmless disturbance is the cause of a false incident."""


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


def score_incidents(labels: Labels, incidents: Iterable[Scored]) -> Score:
    """Hold incidents against the labels of the same services."""
    judged = judge(known_labels(labels), incidents)
    service_days = labels["days"] * len(labels["services"])
    measures = measure(judged, labels=len(labels["incidents"]), service_days=service_days)
    found, clear = _found(judged), [one["id"] for one in labels["incidents"] if _is_clear(one)]
    return Score(
        hits=measures.hits,
        precision=measures.precision or 0,
        recall=measures.recall or 0,
        recall_clear=sum(str(one) in found for one in clear) / max(1, len(clear)),
        f1=measures.f1 or 0,
        false_per_service_day=measures.false_per_service_day or 0,
        duplicates_per_hit=measures.duplicates / max(1, measures.hits),
        delay_median_s=measures.detect_median_s or 0,
        delay_p90_s=_published_p90(sorted(found.values())),
    )


def _published_p90(ordered: Sequence[float]) -> float:
    """Return the 90th percentile in the way of the published scores, one rank lower than ours."""
    return ordered[int(0.9 * (len(ordered) - 1))] if ordered else 0


def known_labels(labels: Labels) -> KnownLabels:
    """Return labels as the product knows them; times from the labels' start."""
    t0_ms = labels["t0_ms"]
    return KnownLabels(
        incidents=tuple(
            Label(
                id=str(one["id"]),
                service_id=one["service"],
                start_ms=one["start"] - t0_ms,
                end_ms=one["end"] - t0_ms,
                kind=one["kind"],
                tier=one["tier"],
                ignore_until_ms=one["dontcare_until"] - t0_ms if "dontcare_until" in one else None,
            )
            for one in labels["incidents"]
        ),
        ignored=tuple(
            Interval(one["service"], one["start"] - t0_ms, one["end"] - t0_ms)
            for one in labels.get("dontcare", [])
        ),
    )


def false_by_cause(labels: Labels, incidents: Iterable[Scored]) -> Counter[str]:
    """Count false incidents by the harmless disturbance that they fall on, else as noise."""
    return Counter(
        _cause(labels, one.scored)
        for one in judge(known_labels(labels), incidents)
        if one.finding is Finding.FALSE
    )


def found_by(field: str, labels: Labels, incidents: Iterable[Scored]) -> dict[str, tuple[int, int]]:
    """Return how many labels of each `kind` or `tier` are found, and of how many."""
    delays = _found(judge(known_labels(labels), incidents))
    every = Counter(one[field] for one in labels["incidents"])
    found = Counter(one[field] for one in labels["incidents"] if str(one["id"]) in delays)
    return {value: (found[value], count) for value, count in sorted(every.items())}


def _found(judged: Iterable[Judged]) -> dict[str, float]:
    """Return the delays of the labels that were hit."""
    return {
        one.label.id: one.delay_s
        for one in judged
        if one.label is not None and one.delay_s is not None
    }


def _is_clear(label: Labels) -> bool:
    return bool(label["tier"] == "clear")


def _cause(labels: Labels, incident: Scored) -> str:
    at_ms = incident.moments[0][0] + labels["t0_ms"]
    for benign in labels["benign"]:
        ours = benign["service"] == incident.service_id
        after_ms = _LASTING_MS if benign["kind"] in _LASTING else _PASSING_MS
        if ours and benign["start"] - 60_000 <= at_ms <= benign["end"] + after_ms:
            return str(benign["kind"])
    return "noise"
