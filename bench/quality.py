"""`python -m bench.quality`: how many incidents are found, how soon, and how many are false.

Replays the recorded week and the recorded three hours through the detector and scores what it
says against the labels, beside the rule read to the letter. Needs no server.
"""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from bench import literal_rule
from bench.replay import (
    TIMELINES,
    Tables,
    incidents_of,
    read_json,
    replay_events,
    replay_week,
    synthetic_series,
)
from bench.score import (
    Labels,
    Score,
    false_by_cause,
    found_by,
    score_incidents,
)
from flows.scoring import Scored, confirmations, openings

COLUMNS = (
    "precision",
    "recall",
    "recall clear",
    "F1",
    "false per service-day",
    "duplicates per hit",
    "delay median / p90",
)
ALL_SERVICES = "*"


def literal_scores(labels: Labels) -> dict[str, Score]:
    """Score the rule read to the letter on the week: over all services together, and of each."""
    errors = {
        service: [count for _, _, count in minutes]
        for service, minutes in synthetic_series().items()
    }
    together = [sum(counts) for counts in zip(*errors.values(), strict=True)]
    alone = [
        incident
        for service, counts in errors.items()
        for incident in literal_rule.incidents(service, counts)
    ]
    return {
        "literal rule, all services as one": score_incidents(
            literal_rule.as_one_service(labels, ALL_SERVICES),
            literal_rule.incidents(ALL_SERVICES, together),
        ),
        "literal rule, each service": score_incidents(labels, alone),
    }


def detector_scores(
    labels: Labels, replays: Mapping[str, Mapping[str, Tables]]
) -> dict[str, Score]:
    """Score the incidents of both presets: preset -> service -> tables."""
    plain, guarded = incidents_of(replays["plain"]), incidents_of(replays["guarded"])
    return {
        "plain": score_incidents(labels, confirmations(plain)),
        "guarded, confirmed": score_incidents(labels, confirmations(guarded)),
        "guarded, all": score_incidents(labels, openings(guarded)),
    }


def cells(score: Score) -> list[str]:
    """Return a score as it is shown, in the order of the columns."""
    return [
        f"{score.precision:.3f}",
        f"{score.recall:.3f}",
        f"{score.recall_clear:.3f}",
        f"{score.f1:.3f}",
        f"{score.false_per_service_day:.3f}",
        f"{score.duplicates_per_hit:.3f}",
        f"{score.delay_median_s:.0f} s / {score.delay_p90_s:.0f} s",
    ]


def findings(labels: Labels, incidents: list[Scored]) -> list[str]:
    """Say what is found, by kind and by tier, and what is false, by its cause."""
    found = [
        ", ".join(f"{value} {hits} of {count}" for value, (hits, count) in by_field.items())
        for by_field in (found_by(field, labels, incidents) for field in ("kind", "tier"))
    ]
    causes = false_by_cause(labels, incidents).most_common()
    return [*found, "false: " + ", ".join(f"{cause} {count}" for cause, count in causes)]


def main() -> None:
    """Replay, score and show."""
    console = Console()
    labels = read_json("synth_s11_labels.json")
    with console.status("replaying the week …"):
        week = {preset: replay_week(timeline) for preset, timeline in TIMELINES.items()}
        scores = {**literal_scores(labels), **detector_scores(labels, week)}
    console.print(_table("one week minute by minute", labels, scores))
    confirmed = confirmations(incidents_of(week["guarded"]))
    console.print(*findings(labels, confirmed), sep="\n")
    labels = read_json("events_3h_s11_labels.json")
    with console.status("replaying three hours …"):
        events = {preset: replay_events(timeline) for preset, timeline in TIMELINES.items()}
    scores = detector_scores(labels, events)
    console.print(_table("three hours record by record", labels, scores))


def _table(title: str, labels: Labels, scores: Mapping[str, Score]) -> Table:
    services, count = len(labels["services"]), len(labels["incidents"])
    title = f"{title}: {services} services, {count} incidents"
    table = Table("", *COLUMNS, title=title, padding=(0, 0, 0, 1))
    for column in table.columns:
        column.overflow = "fold"
    for name, score in scores.items():
        table.add_row(name, *cells(score))
    return table


if __name__ == "__main__":
    main()
