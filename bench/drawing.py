"""What the pictures are made of: windows, baselines and incidents on an axis of minutes."""

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.replay import Tables
from flows.baseline import Baseline, GuardedBaseline
from flows.rows import IncidentRow, WindowRow
from tocsin.detection import WINDOW_MS, Verdict

RED, ORANGE, AMBER, GREY = "#c1121f", "#e8590c", "#f2a541", "#8e9aaf"
BLUE, PALE, INK = "#1d4e89", "#bcd4ee", "#22303c"
BARS: Final = {Verdict.FIRE: RED, Verdict.BREACH: ORANGE, Verdict.SIGNAL: AMBER}

STYLE: Final = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": "white",
    "font.size": 9.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def rows_in(tables: Tables, span: range) -> list[WindowRow]:
    """Return the rows of a span of windows."""
    return [tables.windows[number] for number in span if number in tables.windows]


def incidents_in(tables: Tables, span: range) -> list[IncidentRow]:
    """Return the incidents that opened in a span of windows."""
    rows = sorted(tables.incidents.values(), key=lambda row: row.window_start_ms)
    return [row for row in rows if row.window_start_ms // WINDOW_MS in span]


def plain_of(row: WindowRow) -> Baseline:
    """Return a window's plain baseline."""
    return Baseline(row.plain_n, row.plain_sum, row.plain_squares)


def guarded_of(row: WindowRow) -> GuardedBaseline | None:
    """Return a window's guarded baseline; None under the plain preset."""
    n, errors, squares = row.guarded_n, row.guarded_sum, row.guarded_squares
    if n is None or errors is None or squares is None or row.guarded_records is None:
        return None
    return GuardedBaseline(n, errors, squares, row.guarded_records)


def draw_windows(axes: Axes, tables: Tables, span: range) -> None:
    """Draw the errors of windows, coloured by verdict."""
    rows = rows_in(tables, span)
    colours = [BARS.get(row.verdict, GREY) for row in rows]
    axes.bar(_numbers(rows), [row.errors for row in rows], width=1, color=colours)


def draw_records(axes: Axes, tables: Tables, span: range) -> None:
    """Draw the records of windows, of all levels."""
    rows = rows_in(tables, span)
    axes.bar(_numbers(rows), [row.total for row in rows], width=1, color=GREY)


def draw_baseline(axes: Axes, tables: Tables, span: range) -> None:
    """Draw the baselines that the preset goes by: mean and three sigma to both sides, above 0."""
    numbers, means, highs, lows = [], [], [], []
    for row in rows_in(tables, span):
        baseline = guarded_of(row) or plain_of(row)
        mean, sigma = baseline.mean, baseline.sigma
        if mean is not None and sigma is not None:
            numbers.append(row.window_start_ms // WINDOW_MS)
            means.append(mean)
            highs.append(mean + 3 * sigma)
            lows.append(max(0.0, mean - 3 * sigma))
    axes.fill_between(numbers, lows, highs, color=PALE, alpha=0.55, linewidth=0, zorder=0.9)
    axes.plot(numbers, highs, color=BLUE, linewidth=0.8, alpha=0.7)
    axes.plot(numbers, means, color=BLUE, linewidth=1.6)


def draw_incidents(axes: Axes, tables: Tables, span: range) -> None:
    """Shade the windows of incidents: red if confirmed, amber if not."""
    for row in incidents_in(tables, span):
        low = row.low_start_ms // WINDOW_MS
        high = row.hot_start_ms // WINDOW_MS
        if row.resolved_start_ms is not None:
            high = min(row.resolved_start_ms // WINDOW_MS, span.stop)
        colour = AMBER if row.confirmed_at_ms is None else RED
        axes.axvspan(low - 0.5, high + 0.5, color=colour, alpha=0.13, linewidth=0)


def legend(figure: Figure, *, spans: bool) -> None:
    """Explain the colours below a figure."""
    handles: list[Line2D | Patch] = [
        Patch(color=GREY, label="normal"),
        Patch(color=AMBER, label="signal"),
        Patch(color=ORANGE, label="breach"),
        Patch(color=RED, label="fire"),
        Line2D([], [], color=BLUE, label="baseline's mean"),
        Patch(color=PALE, label="mean ± 3 sigma"),
    ]
    if spans:
        handles += [
            Patch(color=RED, alpha=0.13, label="confirmed incident"),
            Patch(color=AMBER, alpha=0.13, label="unconfirmed"),
        ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.5
    )


def minutes_axis(axes: Axes, span: range, every: int) -> None:
    """Label the axis of windows with the time of day."""
    ticks = [number for number in (*span, span.stop) if number % every == 0]
    axes.set_xticks([tick - 0.5 for tick in ticks], [clock(tick) for tick in ticks])
    axes.set_xlim(span.start - 0.5, span.stop - 0.5)


def clock(window: float, *, seconds: bool = False) -> str:
    """Return the time of day at which a window starts."""
    second = round(window * 60)
    text = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}"
    return f"{text}:{second % 60:02d}" if seconds else text


def _numbers(rows: Sequence[WindowRow]) -> list[int]:
    return [row.window_start_ms // WINDOW_MS for row in rows]
