"""The scores of recorded real series are those that are published with them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.replay import TIMELINES, closed_runs, replay
from flows.labels import Label, Labels
from flows.rows import IncidentRow
from flows.scoring import Finding, Scored, confirmations, judge, openings
from tocsin.detection import WINDOW_MS

CHECKOUT = Path(__file__).parents[3]
REAL = Path(os.environ.get("DETECTION_DATA", CHECKOUT.parent / "shared" / "detection"))

PUBLISHED = {
    "nezha-*": (12, (10, 0), (11, 0), (12, 0)),
    "petshop-*-issues": (19, (2, 0), (3, 0), (4, 0)),
    "petshop-*-spliced": (19, (18, 16), (18, 14), (19, 18)),
    "petshop-*-noissue": (0, (0, 13), (0, 11), (0, 14)),
    "ms-app1-*": (77, (55, 55), (56, 33), (62, 92)),
    "ms-[mu]*": (25, (20, 165), (16, 8), (23, 153)),
    "nab-*": (35, (35, 2359), (32, 620), (35, 2456)),
}
"""By series: visible labels; then of plain, guarded confirmed, guarded all: (hits, outside)."""


def labels_of(real: dict[str, Any]) -> Labels:
    """A step of a series is a window, whatever its length."""
    return Labels(
        incidents=tuple(
            Label(
                id=str(number),
                service_id="service",
                start_ms=label["start"] * WINDOW_MS,
                end_ms=label["end"] * WINDOW_MS,
                tier="visible" if label["visible"] else None,
            )
            for number, label in enumerate(real["labels"])
        )
    )


def incidents_of(real: dict[str, Any], preset: str) -> list[IncidentRow]:
    errors, totals = real["errors"], real["total"]
    series = [
        (window, 0 if count < 0 else max(count, totals[window]) if totals else count + 10, count)
        for window, count in enumerate(errors)
    ]
    tables = replay(closed_runs(series), len(series) + 1, TIMELINES[preset])
    return list(tables.incidents.values())


def counts(labels: Labels, incidents: list[Scored]) -> tuple[int, int]:
    judged = judge(labels, incidents)
    hits = [one.label for one in judged if one.finding is Finding.HIT]
    visible = sum(label is not None and label.tier == "visible" for label in hits)
    return visible, sum(one.finding is Finding.FALSE for one in judged)


@pytest.mark.skipif(
    not list(REAL.glob("real_*.json")), reason=f"no real_*.json in {REAL}: set DETECTION_DATA"
)
@pytest.mark.parametrize("group", PUBLISHED)
def test_hits_and_false_incidents_of_real_series_are_the_published_ones(group: str) -> None:
    visible, scores = 0, [(0, 0)] * 3
    for path in sorted(REAL.glob(f"real_{group}.json")):
        real = json.loads(path.read_text())
        labels = labels_of(real)
        plain, guarded = (incidents_of(real, preset) for preset in ("plain", "guarded"))
        found = (confirmations(plain), confirmations(guarded), openings(guarded))
        visible += sum(label.tier == "visible" for label in labels.incidents)
        scores = [
            (hits + more[0], outside + more[1])
            for (hits, outside), more in zip(
                scores, (counts(labels, one) for one in found), strict=True
            )
        ]
    assert (visible, *scores) == PUBLISHED[group]
