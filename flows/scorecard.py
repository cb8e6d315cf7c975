"""The scores of every candidate of a backtest, in all and by service, and what it would change."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from flows.comparing import Change, compare
from flows.labels import Labels
from flows.replayed import Candidate, Replay
from flows.rows import IncidentRow
from flows.scoring import Judged, Measures, Scored, confirmations, judge, measure, openings

_DAY_MS: Final = 86_400_000


class View(str, Enum):
    """Which incidents are scored, and at which moment.

    Only confirmed incidents are worth waking somebody for; opened ones are shown to who looks.
    """

    CONFIRMED = "confirmed"
    OPENED = "opened"


class CandidateScore(Struct, frozen=True):
    """What one candidate comes to.

    judged: its incidents of the range, by their moments. by_service: of those services about which
    anything was said, by the labels, the candidate or the base. changes: against the base, by
    service; None for the base itself.
    """

    candidate: Candidate
    judged: list[Judged]
    total: Measures
    by_service: dict[str, Measures]
    changes: list[Change] | None


class Scorecard(Struct, frozen=True):
    """A replay held against labels, in one view; candidates in the replay's order.

    The first is the base, to which the others are compared: what judges live, as a rule.
    """

    replay: Replay
    labels: Labels
    view: View
    candidates: list[CandidateScore]

    @property
    def base(self) -> CandidateScore:
        """The candidate to which the others are compared."""
        return self.candidates[0]

    @property
    def others(self) -> list[CandidateScore]:
        """All but the base, best first: by F1 where there are labels, else by changes."""
        return [score for score in self.ranked if score is not self.base]

    @property
    def service_days(self) -> float:
        """Services of the range times its days."""
        return len(self.replay.series) * _days(self.replay)

    @property
    def ranked(self) -> list[CandidateScore]:
        """The candidates, best first: by F1 where there are labels, else by how much they change.

        Equal ones stay in the replay's order.
        """
        if self.labels.incidents:
            return sorted(self.candidates, key=lambda score: -(score.total.f1 or 0))
        return sorted(self.candidates, key=lambda score: -changed(score.changes))


def score_replay(replay: Replay, labels: Labels, view: View = View.CONFIRMED) -> Scorecard:
    """Score every candidate on the labels that count for the replay's range."""
    own = labels.within(replay.begin_ms, replay.end_ms)
    scored = [_scored(rows, replay, view) for rows in replay.incidents]
    return Scorecard(
        replay,
        own,
        view,
        [
            _score(candidate, incidents, replay, own, None if number == 0 else scored[0])
            for number, (candidate, incidents) in enumerate(
                zip(replay.candidates, scored, strict=True)
            )
        ],
    )


def score_views(replay: Replay, labels: Labels, first: View) -> list[Scorecard]:
    """Score every candidate in both views, the first of which is what is written."""
    views = sorted(View, key=lambda view: view is not first)
    return [score_replay(replay, labels, view) for view in views]


def changed(changes: Iterable[Change] | None) -> int:
    """Return how many incidents are not the same as those of the base."""
    return sum(change.what.value != "same" for change in changes or ())


def _scored(rows: Iterable[IncidentRow], replay: Replay, view: View) -> list[Scored]:
    told = confirmations(rows) if view is View.CONFIRMED else openings(rows)
    return [one for one in told if replay.begin_ms <= one.moments[0][0] < replay.end_ms]


def _score(
    candidate: Candidate,
    incidents: Sequence[Scored],
    replay: Replay,
    labels: Labels,
    base: Sequence[Scored] | None,
) -> CandidateScore:
    judged = judge(labels, incidents)
    changes = None if base is None else compare(base, incidents)
    by_service: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        by_service[one.scored.service_id].append(one)
    labelled = Counter(label.service_id for label in labels.incidents)
    told = {change.service_id for change in changes or ()}
    days = _days(replay)
    return CandidateScore(
        candidate,
        judged,
        measure(judged, labels=labelled.total(), service_days=len(replay.series) * days),
        {
            service_id: measure(
                by_service.get(service_id, []), labels=labelled[service_id], service_days=days
            )
            for service_id in sorted({*by_service, *labelled, *told})
        },
        changes,
    )


def _days(replay: Replay) -> float:
    return (replay.end_ms - replay.begin_ms) / _DAY_MS
