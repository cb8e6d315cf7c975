"""`python -m bench.pictures`: draws the pictures of docs/detection.md from the recorded series."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.drawing import (
    BARS,
    BLUE,
    GREY,
    INK,
    RED,
    STYLE,
    clock,
    draw_baseline,
    draw_incidents,
    draw_records,
    draw_windows,
    guarded_of,
    incidents_in,
    legend,
    minutes_axis,
    plain_of,
)
from bench.replay import (
    EVENTS_END,
    GUARDED,
    PLAIN,
    Tables,
    closed_runs,
    event_runs,
    replay,
    synthetic_series,
)
from flows.rows import IncidentRow, Run
from flows.verdict import limits_of
from tocsin.detection import WINDOW_MS, SettingsTimeline

PICTURES: Final = Path(__file__).parents[1] / "docs" / "pictures"
DAY: Final = 1440


def main() -> None:
    """Draw all pictures."""
    PICTURES.mkdir(exist_ok=True)
    mpl.use("Agg")
    with plt.style.context(STYLE):
        for name, draw in DRAWINGS.items():
            figure = draw()
            path = PICTURES / f"{name}.png"
            figure.savefig(
                path, dpi=130, metadata={"Software": None}, pil_kwargs={"optimize": True}
            )
            plt.close(figure)


def draw_day() -> Figure:
    """Draw a day with three outages, and a rush of traffic that looks like a fourth."""
    return _one_panel(
        "gateway: errors per minute of one day", "gateway", range(3 * DAY, 4 * DAY), 120
    )


def draw_ramp() -> Figure:
    """Draw errors that grow over half an hour."""
    title = "mobile-bff: a ramp is confirmed, and its baseline frozen, before it can be learned"
    return _one_panel(title, "mobile-bff", range(6430, 6530), 10)


def draw_step() -> Figure:
    """Draw a level that comes to stay."""
    title = "notifications: a level that stays is learned two hours after its confirming window"
    return _one_panel(title, "notifications", range(7375, 7545), 15)


def draw_outage() -> Figure:
    """Draw one outage on both baselines."""
    span = range(3760, 3850)
    figure, panels = plt.subplots(2, figsize=(10, 6), sharex=True, layout="constrained")
    for axes, timeline, title in (
        (
            panels[0],
            PLAIN,
            "plain: the baseline learns the outage, the incident ends in the middle",
        ),
        (panels[1], GUARDED, "guarded: the baseline is frozen, the incident ends with the outage"),
    ):
        _draw_all(axes, _week_of("mobile-bff", timeline), span, f"mobile-bff, {title}")
        axes.set_ylim(0, 560)
    minutes_axis(panels[1], span, 10)
    legend(figure, spans=True)
    return figure


def draw_noise() -> Figure:
    """Draw a noisy service's day: what pages under each preset."""
    span = range(DAY, 2 * DAY)
    figure, panels = plt.subplots(2, figsize=(10, 6), sharex=True, layout="constrained")
    for axes, name, timeline in zip(panels, ("plain", "guarded"), (PLAIN, GUARDED), strict=True):
        tables = _week_of("ml-scorer", timeline)
        draw_windows(axes, tables, span)
        draw_baseline(axes, tables, span)
        axes.set_ylim(0, 108)
        pages = [row for row in incidents_in(tables, span) if row.confirmed_at_ms is not None]
        for row in pages:
            at = (row.confirmed_start_ms or 0) // WINDOW_MS
            axes.plot(at, 102, marker="v", color=RED, markersize=7)
        axes.set_title(f"ml-scorer, {name}: {len(pages)} pages (▼) on a day with two incidents")
    minutes_axis(panels[1], span, 120)
    legend(figure, spans=False)
    return figure


def draw_silence() -> Figure:
    """Draw a talkative service that stops logging."""
    span = range(8060, 8160)
    tables = _week_of("iot-ingest", GUARDED)
    unknown = [number for number in tables.numbers(unknown=True) if number in span]
    low, high = min(unknown), max(unknown)
    figure, (records, errors) = plt.subplots(
        2, figsize=(10, 5.4), sharex=True, layout="constrained"
    )
    draw_records(records, tables, span)
    records.set_title("iot-ingest: records of all levels per minute")
    for axes in (records, errors):
        axes.axvspan(low - 0.5, high + 0.5, color=BLUE, alpha=0.1, linewidth=0)
    records.text(
        (low + high) / 2,
        records.get_ylim()[1] / 2,
        f"{clock(low)} to {clock(high + 1)}: unknown,\nand an incident of kind silence",
        ha="center",
        va="center",
        color=BLUE,
    )
    _draw_all(errors, tables, span, "errors per minute: the guarded baseline waits")
    minutes_axis(errors, span, 10)
    legend(figure, spans=True)
    return figure


def draw_burst() -> Figure:
    """Draw a burst record by record: it is announced within its minute."""
    service, windows = "email-worker", range(87, 90)
    runs = event_runs()[service]
    tables = replay(runs, EVENTS_END, GUARDED, service_id=service)
    [incident] = incidents_in(tables, windows)
    figure, axes = plt.subplots(figsize=(10, 4.2), layout="constrained")
    for window in windows:
        colour = BARS.get(tables.windows[window].verdict, GREY)
        arrivals, counts = _growth(window, runs)
        axes.step(arrivals, counts, where="post", color=colour, linewidth=2)
        axes.fill_between(arrivals, counts, step="post", color=colour, alpha=0.2, linewidth=0)
        row, minute = tables.windows[window], [window, window + 1]
        limits = limits_of(plain_of(row), guarded_of(row), GUARDED.versions[0])
        axes.plot(minute, [min(limits.signal, limits.breach)] * 2, color=BLUE, linewidth=1.5)
        axes.plot(minute, [limits.fire] * 2, color=RED, linewidth=1.5, linestyle="--")
    _mark_moments(axes, incident)
    axes.set_title(f"{service}: the errors of each minute as they arrive")
    ticks = [*windows, windows.stop]
    axes.set_xticks(ticks, [clock(tick) for tick in ticks])
    axes.set_xlim(windows.start, windows.stop)
    axes.set_ylim(0)
    handles = [
        Line2D([], [], color=BLUE, label="from so many errors on: opened"),
        Line2D([], [], color=RED, linestyle="--", label="from so many on: confirmed at once"),
    ]
    axes.legend(handles=handles, loc="upper right")
    return figure


DRAWINGS: Final[dict[str, Callable[[], Figure]]] = {
    "day": draw_day,
    "burst": draw_burst,
    "ramp": draw_ramp,
    "outage": draw_outage,
    "step": draw_step,
    "noise": draw_noise,
    "silence": draw_silence,
}


def _week_of(service: str, timeline: SettingsTimeline) -> Tables:
    minutes = synthetic_series()[service]
    return replay(closed_runs(minutes), len(minutes) + 1, timeline, service_id=service)


def _one_panel(title: str, service: str, span: range, tick_every: int) -> Figure:
    figure, axes = plt.subplots(figsize=(10, 3.9), layout="constrained")
    _draw_all(axes, _week_of(service, GUARDED), span, title)
    minutes_axis(axes, span, tick_every)
    legend(figure, spans=True)
    return figure


def _draw_all(axes: Axes, tables: Tables, span: range, title: str) -> None:
    draw_incidents(axes, tables, span)
    draw_windows(axes, tables, span)
    draw_baseline(axes, tables, span)
    axes.set_title(title)


def _growth(window: int, runs: list[Run]) -> tuple[list[float], list[int]]:
    """Return when the errors of a window arrived, in minutes, and how many there were then."""
    arrivals, counts = [float(window)], [0]
    for run in runs:
        if run.window == window and run.errors:
            arrivals.append(run.last_arrival_ms / WINDOW_MS)
            counts.append(counts[-1] + run.errors)
    return [*arrivals, max(arrivals[-1], window + 1)], [*counts, counts[-1]]


def _mark_moments(axes: Axes, incident: IncidentRow) -> None:
    top = axes.get_ylim()[1]
    for at_ms, height, colour, what in (
        (incident.opened_at_ms, 0.5, BLUE, "opened"),
        (incident.confirmed_at_ms, 0.6, RED, "confirmed"),
        (incident.window_start_ms + 2 * WINDOW_MS, 1, INK, "its minute closes"),
    ):
        if at_ms is not None:
            at = at_ms / WINDOW_MS
            axes.axvline(at, color=colour, linewidth=1)
            text = f"{what} {clock(at, seconds=True)}  "
            axes.text(at, top * height, text, color=colour, ha="right")


if __name__ == "__main__":
    main()
