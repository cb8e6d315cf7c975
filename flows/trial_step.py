"""Bytewax steps of a backtest: each service's runs go to all candidates; sinks that collect."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.course import Course
from flows.cut import ServiceRuns
from flows.known import Known
from flows.plans import Plan, plans_of
from flows.replayed import Candidate
from flows.sinks import Progress
from flows.trial import Found, ServiceTrial
from tocsin.batches import RecordBatch
from tocsin.detection import SettingsTimeline


class Trials:
    """What is tried, the same for all services, and where they are taken up.

    known: the services as they were at `since_ms`.
    """

    def __init__(
        self, candidates: Sequence[Candidate], known: Known, since_ms: int, course: Course
    ) -> None:
        self.course = course
        self._books = [candidate.book for candidate in candidates]
        self._known = known
        self._since_ms = since_ms
        self._plans: dict[tuple[int, ...], tuple[list[SettingsTimeline], list[Plan]]] = {}

    def begin(self, service_id: str) -> ServiceTrial:
        """Return the trial of a service that is met for the first time."""
        timelines = [book.timeline(service_id) for book in self._books]
        # Equal ones are one object, which its book keeps.
        key = tuple(map(id, timelines))
        if key not in self._plans:
            self._plans[key] = timelines, plans_of(timelines)
        state = self._known.state_of(service_id)
        start = None if state is None else state.detector
        return ServiceTrial(service_id, *self._plans[key], start, self._since_ms)


class TrialLogic(StatefulBatchLogic[ServiceRuns, Found, None]):
    """The trial of one service; what came of it is given out at the end."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._trial: ServiceTrial | None = None
        self._partition = 0

    def on_batch(self, values: list[ServiceRuns]) -> tuple[Iterable[Found], bool]:
        """Take the runs in order; nothing is given out yet."""
        for value in values:
            trial = self._trial
            if trial is None:
                trial = self._trial = self._trials.begin(value.service_id)
            self._partition = value.partition
            if value.runs:
                is_scored = self._trials.course.is_scored(value.partition, value.runs[0].offset)
                trial.take(value.runs, value.error_arrivals, is_scored=is_scored)
            if value.advance_ms is not None:
                trial.advance(value.advance_ms)
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Found], bool]:
        """Give out what came of the service."""
        trial = self._trial
        found = [] if trial is None else [trial.end(self._trials.course.end_ms(self._partition))]
        return found, StatefulBatchLogic.DISCARD

    def snapshot(self) -> None:
        """Return nothing: a backtest is never resumed."""


def trial_builder(trials: Trials) -> Callable[[None], TrialLogic]:
    """Return what Bytewax calls for a service that it meets."""
    return lambda _: TrialLogic(trials)


class Tally:
    """How many records and dead letters the scored range has."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self.records = 0
        self.dead_letters = 0

    def add(self, batch: RecordBatch) -> None:
        """Count a batch, all of which is in the range or all before it."""
        if len(batch) and self._course.is_scored(batch.partition, batch.offset[0]):
            self.records += len(batch)
        self.dead_letters += sum(
            self._course.is_scored(letter.partition, letter.offset) for letter in batch.dead_letters
        )


class Collecting(DynamicSink[tuple[str, Any]]):
    """Hands everything that comes to a function, in this process."""

    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take

    def build(
        self, step_id: str, worker_index: int, worker_count: int
    ) -> "StatelessSinkPartition[tuple[str, Any]]":
        """One part a worker; there is one worker."""
        return _CollectingPart(self._take)


class _CollectingPart(StatelessSinkPartition[tuple[str, Any]]):
    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take

    def write_batch(self, items: list[tuple[str, Any]]) -> None:
        for _, value in items:
            if not isinstance(value, Progress):
                self._take(value)
