"""The rule read to the letter: what to hold the detector against.

One count of errors a minute, over all services together or of each alone, judged when the minute is
over: it breaches with more than 5 errors that lie more than 3 standard deviations above the mean of
the last 30 minutes. Those include the minute itself, and minutes without errors are not among them,
as in a GROUP BY. The standard deviation is the sample's, SQL's `stddev`. A breach is an incident.
"""

import statistics
from collections.abc import Sequence
from typing import Final

from bench.score import Labels
from flows.scoring import Scored
from tocsin.detection import WINDOW_MS

MINUTES: Final = 30
MINIMUM_COUNT: Final = 5
THRESHOLD_SIGMA: Final = 3


def breaches(errors: Sequence[int]) -> list[int]:
    """Return the minutes that breach."""
    return [
        minute
        for minute, count in enumerate(errors)
        if count > MINIMUM_COUNT and _stands_out(count, errors[: minute + 1][-MINUTES:])
    ]


def incidents(service: str, errors: Sequence[int]) -> list[Scored]:
    """Return every breach as an incident, opened at the minute's end."""
    return [Scored(service, [((minute + 1) * WINDOW_MS, minute)]) for minute in breaches(errors)]


def as_one_service(labels: Labels, name: str) -> Labels:
    """Return the labels as if all services were one: a hit is a hit wherever it was."""
    renamed = {
        key: [{**one, "service": name} for one in labels.get(key, [])]
        for key in ("incidents", "dontcare")
    }
    return {**labels, **renamed}


def _stands_out(count: int, minutes: Sequence[int]) -> bool:
    present = [errors for errors in minutes if errors]
    if len(present) < 2:
        return False
    return count - statistics.fmean(present) > THRESHOLD_SIGMA * statistics.stdev(present)
