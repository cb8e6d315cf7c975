"""backtest: an hour of records judged again from the topic, by one setting and by a hundred.

The records are on the topic before it starts. The limit is a bare consumer whose records msgspec
decodes. The rate on one core is by the process's processor time, its client's threads included; so
is what a grid of a hundred settings costs beside one. Memory is the process's peak, after a third
of the range and after all of it.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

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
        of_third = _measured(settings, third, one)
        of_all = _measured(settings, Asked(), one)
        of_grid = _measured(settings, Asked(), grid)
        limit = consumer_rate(stack.kafka_bootstrap, records)
    per_s, of_one_core = records / of_all.took_s, records / of_all.processor_s
    grid_cost = 100 * of_grid.processor_s / of_all.processor_s
    return [
        Figure("one setting", per_s, "records/s", limit, "bare consumer and msgspec"),
        Figure("one setting, of one core", of_one_core, "records/s", GOAL_PER_S, "goal"),
        Figure("a hundred settings", grid_cost, "% of one", 150.0, "goal"),
        Figure("memory of all", of_all.peak_mib, "MiB", of_third.peak_mib, "a third of the range"),
    ]


class _Taken(NamedTuple):
    """What a backtest took: seconds, seconds of processor time, and memory at its height."""

    took_s: float
    processor_s: float
    peak_mib: float


def _measured(settings: Settings, asked: Asked, candidates: Sequence[Candidate]) -> _Taken:
    """Backtest in a process of its own, whose memory is that of nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        return apart.submit(_measure, settings, asked, candidates).result()


def _measure(settings: Settings, asked: Asked, candidates: Sequence[Candidate]) -> _Taken:
    began, processor_began = time.perf_counter(), time.process_time()
    backtest_topic(settings, asked, candidates, Course())
    took_s, processor_s = time.perf_counter() - began, time.process_time() - processor_began
    return _Taken(took_s, processor_s, _peak_mib())


def _peak_mib() -> float:
    # The usage that the system tells of a process begins with its parent's.
    [line] = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) / _KIB_A_MIB
