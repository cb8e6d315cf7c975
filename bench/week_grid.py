"""`python -m bench.week_grid FILE.html`: a grid of settings on the recorded week, with its page.

Shows and writes what `tocsin backtest` would of the records, which are counted by minute already.
Needs no server.
"""

import sys
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Raw
from rich.console import Console

from bench.replay import closed_runs, read_json, replay, synthetic_series
from bench.score import known_labels
from flows.labels import Labels
from flows.page import write_page
from flows.replayed import LIVE, Candidate, Replay, Series
from flows.score_tables import tables
from flows.scorecard import View, score_replay
from tocsin.detection import WINDOW_MS
from tocsin.settings_versions import SettingsDocument, SettingsVersion

DAY_WINDOWS: Final = 1440


def candidate(name: str, **settings: object) -> Candidate:
    """Return a candidate with some settings, given as they stand in JSON."""
    raws = {key: Raw(str(value).encode()) for key, value in settings.items()}
    return Candidate(name, (SettingsVersion(1, 0, SettingsDocument(raws)),))


def grid(sigmas: Iterable[str], counts: Iterable[int]) -> list[Candidate]:
    """Return live and what sigma and the minimum count make of it."""
    return [
        candidate(LIVE),
        *(
            candidate(
                f"sigma={sigma} min-count={count}", threshold_sigma=sigma, minimum_count=count
            )
            for sigma in sigmas
            for count in counts
        ),
    ]


def replay_of(
    series: Mapping[str, list[tuple[int, int, int]]], candidates: list[Candidate]
) -> Replay:
    """Return the closed replay of (window, total, errors) by service."""
    first = min(minutes[0][0] for minutes in series.values())
    last = max(minutes[-1][0] for minutes in series.values())
    incidents = []
    for one in candidates:
        rows = [
            row
            for service, minutes in series.items()
            for row in replay(
                closed_runs(minutes),
                last + 2,
                one.book.timeline(service),
                service_id=service,
            ).incidents.values()
        ]
        incidents.append(sorted(rows, key=lambda row: (row.opened_at_ms, row.service_id)))
    return Replay(
        begin_ms=first * WINDOW_MS,
        end_ms=(last + 1) * WINDOW_MS + 1,
        candidates=candidates,
        incidents=incidents,
        series={service: _series(minutes) for service, minutes in series.items()},
        records=sum(total for minutes in series.values() for _, total, _ in minutes),
        dead_letters=0,
        ended_early=False,
        source="the recorded week",
    )


def week_of(
    services: Iterable[str], *, days: int = 7, since: int = 0
) -> dict[str, list[tuple[int, int, int]]]:
    """Return the beginning of the recorded week of some services, from a window on."""
    every = synthetic_series()
    return {
        service: [
            (since + minute, total, errors)
            for minute, total, errors in every[service][: days * DAY_WINDOWS]
        ]
        for service in services
    }


def labels_of_week(services: Iterable[str], *, since_ms: int = 0) -> Labels:
    """Return the labels of the recorded week of some services, if it begins at a time."""
    recorded = read_json("synth_s11_labels.json")
    known = known_labels({**recorded, "t0_ms": recorded["t0_ms"] - since_ms})
    own = set(services)
    return Labels(
        incidents=tuple(label for label in known.incidents if label.service_id in own),
        ignored=tuple(one for one in known.ignored if one.service_id in own),
    )


def _series(minutes: list[tuple[int, int, int]]) -> Series:
    none = array("q", [0] * len(minutes))
    return Series(
        minutes[0][0] * WINDOW_MS,
        array("q", [errors for _, _, errors in minutes]),
        array("q", [total for _, total, _ in minutes]),
        none,
        none,
    )


def main() -> None:
    """Score the week by live, nine other settings and the plain rule; write the page."""
    since_ms = read_json("synth_s11_labels.json")["t0_ms"]
    services = list(synthetic_series())
    week = week_of(services, since=since_ms // WINDOW_MS)
    tried = [*grid(("2.5", "3", "4"), (3, 5, 10)), candidate("plain", preset='"plain"')]
    replay = replay_of(week, tried)
    labels = labels_of_week(services, since_ms=since_ms)
    cards = [score_replay(replay, labels, view) for view in View]
    console = Console(width=80)
    for shown in tables(cards):
        console.print(shown)
    for path in sys.argv[1:]:
        write_page(Path(path), cards[0])


if __name__ == "__main__":
    main()
