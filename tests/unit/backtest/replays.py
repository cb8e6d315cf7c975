"""Replays of the recorded week as a backtest returns them, by any settings."""

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Raw

from bench.replay import closed_runs, read_json, replay, synthetic_series
from bench.score import known_labels
from flows.labels import Label, Labels
from flows.replayed import LIVE, Candidate, Replay, Series
from tocsin.detection import WINDOW_MS
from tocsin.settings_versions import SettingsDocument, SettingsVersion

DAY_WINDOWS = 1440


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
    """Return the closed replay of (window, total, errors) by service, from window 0 on."""
    length = max(len(minutes) for minutes in series.values())
    incidents = []
    for one in candidates:
        rows = [
            row
            for service, minutes in series.items()
            for row in replay(
                closed_runs(minutes),
                len(minutes) + 1,
                one.book.timeline(service),
                service_id=service,
            ).incidents.values()
        ]
        incidents.append(sorted(rows, key=lambda row: (row.opened_at_ms, row.service_id)))
    return Replay(
        begin_ms=0,
        end_ms=length * WINDOW_MS + 1,
        candidates=candidates,
        incidents=incidents,
        series={service: _series(minutes) for service, minutes in series.items()},
        records=sum(total for minutes in series.values() for _, total, _ in minutes),
        dead_letters=0,
        ended_early=False,
    )


def week_of(services: Iterable[str], days: int = 7) -> dict[str, list[tuple[int, int, int]]]:
    """Return the beginning of the recorded week of some services."""
    every = synthetic_series()
    return {service: every[service][: days * DAY_WINDOWS] for service in services}


def labels_of_week(services: Iterable[str]) -> Labels:
    """Return the labels of the recorded week of some services."""
    known, own = known_labels(read_json("synth_s11_labels.json")), set(services)
    return Labels(
        incidents=tuple(label for label in known.incidents if label.service_id in own),
        ignored=tuple(one for one in known.ignored if one.service_id in own),
    )


def label(service: str, start_ms: int, end_ms: int, **more: Any) -> Label:
    return Label(
        id=f"{service}:{start_ms}", service_id=service, start_ms=start_ms, end_ms=end_ms, **more
    )


def _series(minutes: list[tuple[int, int, int]]) -> Series:
    none = array("q", [0] * len(minutes))
    return Series(
        0,
        array("q", [errors for _, _, errors in minutes]),
        array("q", [total for _, total, _ in minutes]),
        none,
        none,
    )
