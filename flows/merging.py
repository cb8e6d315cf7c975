"""Runs of a service that batches have cut, put together again: one a window where nothing parts it.

A detector of a replay then sees about one run a service and minute, however the topic was polled.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from flows.rows import Run

ERRORS_MAX: Final = 50_000
"""A run with so many errors is given out as it is: the arrivals of all of them are kept."""


class TimedRun(NamedTuple):
    """A run with the arrival of every one of its errors, in order."""

    run: Run
    error_arrivals: Sequence[int]


class Merging:
    """The newest run of every service, which may go on with the next batch.

    idle_ms: silence between two records that ends a run.
    """

    def __init__(self, idle_ms: int) -> None:
        self._idle_ms = idle_ms
        self._pending: dict[str, tuple[Run, list[int]]] = {}

    def take(
        self, service_id: str, runs: Iterable[Run], error_arrivals: Sequence[int]
    ) -> Iterator[TimedRun]:
        """Take a service's next runs, with the arrivals of their errors; give out what has ended.

        What is given out must be applied before anything else of the service.
        """
        taken = 0
        for run in runs:
            arrivals = error_arrivals[taken : taken + run.errors]
            taken += run.errors
            pending = self._pending.get(service_id)
            if pending is not None and self._goes_on(*pending, run):
                former, own = pending
                own += arrivals
                self._pending[service_id] = _joined(former, run), own
            else:
                if pending is not None:
                    yield TimedRun(*pending)
                self._pending[service_id] = run, list(arrivals)

    def flush(self, service_id: str) -> TimedRun | None:
        """Give out a service's newest run, whether it would go on or not."""
        pending = self._pending.pop(service_id, None)
        return None if pending is None else TimedRun(*pending)

    def services(self) -> list[str]:
        """Return who has a run that may go on."""
        return list(self._pending)

    def _goes_on(self, former: Run, arrivals: list[int], run: Run) -> bool:
        return (
            former.window == run.window
            and run.first_arrival_ms - former.last_arrival_ms <= self._idle_ms
            and len(arrivals) < ERRORS_MAX
        )


def _joined(former: Run, run: Run) -> Run:
    return Run(
        run.window,
        former.total + run.total,
        former.errors + run.errors,
        former.first_arrival_ms,
        run.last_arrival_ms,
        run.offset,
    )
