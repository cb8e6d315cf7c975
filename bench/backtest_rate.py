"""backtest: an hour of records judged again from the topic, by one setting and by a hundred.

The records are on the topic before it starts. The limit is a bare consumer whose records msgspec
decodes. The rate on one core is by the process's processor time, its client's threads included; so
is what a grid of a hundred settings costs beside one. Memory is the process's peak, after a third
of the range and after all of it.
"""

import os
import resource
import time
from collections.abc import Sequence
from typing import Final

from bench.measurement import Figure
from bench.topic import consumer_rate, fill
from bench.workload import wire_records
from flows.backtest import backtest_topic
from flows.candidates import candidates_of, default_candidate, grid_of
from flows.course import Course
from flows.replayed import Candidate
from flows.topic_range import Asked
from stack.running import temporary
from tocsin.settings import Settings, load_settings
from tocsin.topics import create_topics

ID = "backtest"
SPAN_S = 3600
GOAL_PER_S: Final = 250_000
GRID: Final = {
    "threshold_sigma": ["2.5", "3", "3.5", "4", "4.5"],
    "minimum_count": ["3", "5", "8", "10", "15"],
    "confirm_run_windows": ["2", "3", "4", "5"],
}
_KIB_A_MIB = 1024


def run(records: int) -> list[Figure]:
    """Return the rates, what a grid costs, and how memory grows with the range."""
    one = [default_candidate()]
    _, *grid = candidates_of(default_candidate(), grid_of(GRID))
    with temporary() as stack:
        stack.migrate()
        settings = load_settings({**os.environ, **stack.environment})
        create_topics(settings)
        fill(stack.kafka_bootstrap, wire_records(records, span_s=SPAN_S))
        parts = settings.partitions
        third = Asked(offsets=dict.fromkeys(range(parts), (0, records // parts // 3)))
        _measure(settings, third, one)
        of_third = _peak_mib()
        took_s, processor_s = _measure(settings, Asked(), one)
        of_all = _peak_mib()
        _, of_grid_s = _measure(settings, Asked(), grid)
        limit = consumer_rate(stack.kafka_bootstrap, records)
    return [
        Figure("one setting", records / took_s, "records/s", limit, "bare consumer and msgspec"),
        Figure("one setting, of one core", records / processor_s, "records/s", GOAL_PER_S, "goal"),
        Figure("a hundred settings", 100 * of_grid_s / processor_s, "% of one", 150.0, "goal"),
        Figure("memory of all", of_all, "MiB", of_third, "a third of the range"),
    ]


def _measure(
    settings: Settings, asked: Asked, candidates: Sequence[Candidate]
) -> tuple[float, float]:
    """Return the seconds that a backtest took, and those of processor time."""
    began, processor_began = time.perf_counter(), time.process_time()
    backtest_topic(settings, asked, candidates, Course())
    return time.perf_counter() - began, time.process_time() - processor_began


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_A_MIB
