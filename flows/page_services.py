"""The picture of one service: its counts, the band of its baseline, what each setting tells."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final, NamedTuple

from flows.baseline import Baseline, GuardedBaseline
from flows.detector import Detector
from flows.replayed import Candidate, Series
from flows.rows import Run, WindowRow
from flows.scorecard import CandidateScore, Scorecard
from flows.scoring import Finding, Judged
from tocsin.detection import WINDOW_MS

LANES_MAX: Final = 10
POINTS_MAX: Final = 10_080
BAND_SIGMA: Final = 3
_DRAIN_EVERY: Final = 500

COLOURS: Final = {
    Finding.HIT: "#2b8a3e",
    Finding.DUPLICATE: "#8ac6a0",
    Finding.FALSE: "#c1121f",
    Finding.UNLABELLED: "#e8890c",
    Finding.IGNORED: "#8e9aaf",
}
_INK, _BLUE, _BAND = "#22303c", "#1d4e89", "rgba(120,165,215,0.35)"

Figure = dict[str, Any]


class Band(NamedTuple):
    """What was normal in each window; None where there was no baseline yet."""

    lows: list[float | None]
    means: list[float | None]
    highs: list[float | None]


class Lane(NamedTuple):
    """What one setting, or several that say the same, told of a service."""

    names: list[str]
    judged: list[Judged]


def lanes_of(card: Scorecard, service_id: str) -> list[Lane]:
    """Return the candidates by what they say of a service: the base first, then the most alike."""
    lanes: dict[tuple[object, ...], Lane] = {}
    for score in card.candidates:
        own = _judged(score, service_id)
        key = tuple(_telling(one) for one in own)
        lanes.setdefault(key, Lane([], own)).names.append(score.candidate.name)
    first, *others = lanes.values()
    return [first, *sorted(others, key=lambda lane: -len(lane.names))]


def band_of(service_id: str, series: Series, candidate: Candidate) -> Band:
    """Return the baseline of every window by a candidate's settings, from the counts alone.

    The baseline that it goes by: the guarded one where there is one. It knows nothing of before the
    range, so its first half hour is made of less.
    """
    detector = Detector(service_id, candidate.book.timeline(service_id))
    first = series.first_start_ms // WINDOW_MS
    rows: dict[int, WindowRow] = {}

    def keep() -> None:
        rows.update((row.window_start_ms // WINDOW_MS, row) for row in detector.drain().windows)

    for number, (errors, total) in enumerate(zip(series.errors, series.total, strict=True)):
        if total:
            end_ms = (first + number + 1) * WINDOW_MS
            detector.apply(Run(first + number, total, errors, end_ms, end_ms, number))
            if number % _DRAIN_EVERY == 0:
                keep()
    detector.advance_to(first + len(series.total) + 1, 0)
    keep()
    own = [_limits(rows.get(first + number)) for number in range(len(series.total))]
    return Band(*map(list, zip(*own, strict=True))) if own else Band([], [], [])


def service_figure(card: Scorecard, service_id: str, band: Band) -> Figure:
    """Return the picture of a service as plotly reads it."""
    series, lanes = card.replay.series[service_id], lanes_of(card, service_id)
    labels = [one for one in card.labels.incidents if one.service_id == service_id]
    shown = lanes[:LANES_MAX]
    names = [_lane_name(lane) for lane in shown] + (["labels"] if labels else [])
    rows = len(names)
    height = 190 + 24 * rows
    spans = [(one.start_ms, one.end_ms, one.kind or one.id) for one in labels]
    return {
        "data": [
            *_counts(series, band),
            *_lane_traces(shown, card.replay.end_ms),
            *_label_traces(spans, len(shown)),
        ],
        "layout": {
            "height": height + 60,
            "margin": {"l": 190, "r": 20, "t": 10, "b": 40},
            "showlegend": False,
            "hovermode": "closest",
            "plot_bgcolor": "white",
            "font": {"color": _INK, "size": 12},
            "xaxis": {
                "type": "date",
                "anchor": "y2",
                "range": [card.replay.begin_ms, card.replay.end_ms],
                "gridcolor": "#e9ecef",
            },
            "yaxis": {
                "domain": [24 * rows / height + 0.04, 1],
                "rangemode": "tozero",
                "title": {"text": _axis_title(series)},
                "gridcolor": "#e9ecef",
            },
            "yaxis2": {
                "domain": [0, 24 * rows / height],
                "range": [rows - 0.4, -0.6],
                "tickvals": list(range(rows)),
                "ticksuffix": "  ",
                "ticktext": [escape(name) for name in names],
                "gridcolor": "#f1f3f5",
                "zeroline": False,
                "fixedrange": True,
            },
        },
    }


def _judged(score: CandidateScore, service_id: str) -> list[Judged]:
    return [one for one in score.judged if one.scored.service_id == service_id]


def _telling(one: Judged) -> tuple[object, ...]:
    row = one.scored.incident
    end_ms = None if row is None else row.resolved_start_ms
    return (one.scored.moments[0], end_ms, one.finding)


def _lane_name(lane: Lane) -> str:
    name = lane.names[0] if len(lane.names[0]) <= 24 else f"{lane.names[0][:23]}…"
    more = len(lane.names) - 1
    return f"{name} +{more}" if more else name


def _limits(row: WindowRow | None) -> tuple[float | None, float | None, float | None]:
    if row is None:
        return None, None, None
    baseline: Baseline | GuardedBaseline = Baseline(row.plain_n, row.plain_sum, row.plain_squares)
    sums = (row.guarded_n, row.guarded_sum, row.guarded_squares, row.guarded_records)
    if None not in sums:
        baseline = GuardedBaseline(*sums)  # type: ignore[arg-type]  # none is None
    mean, sigma = baseline.mean, baseline.sigma
    if mean is None or sigma is None:
        return None, None, None
    return max(0.0, mean - BAND_SIGMA * sigma), mean, mean + BAND_SIGMA * sigma


def _step(series: Series) -> int:
    """Return how many windows are one point of the picture."""
    return -(-len(series.errors) // POINTS_MAX) or 1


def _axis_title(series: Series) -> str:
    step = _step(series)
    return "errors a minute" if step == 1 else f"errors a minute,<br>most of each {step}"


def _counts(series: Series, band: Band) -> Iterator[Figure]:
    step = _step(series)
    axis = {"type": "scatter", "mode": "lines", "x0": series.first_start_ms, "dx": step * WINDOW_MS}
    hidden = {"hoverinfo": "skip", "line": {"width": 0}}
    lows, means, highs = (_highest(own, step) for own in band)
    yield {**axis, **hidden, "y": lows}
    yield {**axis, **hidden, "y": highs, "fill": "tonexty", "fillcolor": _BAND}
    errors = _highest(series.errors, step)
    steps = {"color": _INK, "width": 1, "shape": "hv"}
    yield {**axis, "y": errors, "name": "errors", "line": steps, "fillcolor": "#ced4da"}
    yield {**axis, "y": means, "name": "expected", "line": {"color": _BLUE, "width": 1.2}}


def _highest(values: Sequence[float | None], step: int) -> list[float | None]:
    """Return the highest of each so many values, rounded."""
    parts = (values[first : first + step] for first in range(0, len(values), step))
    return [max((round(one, 1) for one in part if one is not None), default=None) for part in parts]


def _lane_traces(lanes: Sequence[Lane], end_ms: int) -> Iterator[Figure]:
    """Yield what was told: a mark at the moment, a bar until it was over; colours by finding."""
    for finding, colour in COLOURS.items():
        xs: list[int | None] = []
        ys: list[int | None] = []
        told_at: list[int] = []
        told_y: list[int] = []
        texts: list[str] = []
        for number, lane in enumerate(lanes):
            for one in lane.judged:
                if one.finding is finding:
                    at_ms = one.scored.moments[0][0]
                    xs += [at_ms, _over_ms(one, at_ms, end_ms), None]
                    ys += [number, number, None]
                    told_at.append(at_ms)
                    told_y.append(number)
                    texts.append(_told(one, lane))
        if told_at:
            common = {"type": "scatter", "yaxis": "y2", "name": finding.value}
            bar = {"color": colour, "width": 9}
            yield {**common, "mode": "lines", "x": xs, "y": ys, "line": bar, "hoverinfo": "skip"}
            mark = {"color": colour, "size": 9, "symbol": "line-ns", "line": {"width": 3}}
            mark["line"] = {"width": 3, "color": colour}
            yield {
                **common,
                "mode": "markers",
                "x": told_at,
                "y": told_y,
                "marker": mark,
                "text": texts,
                "hovertemplate": "%{x}<br>%{text}<extra></extra>",
            }


def _over_ms(one: Judged, at_ms: int, end_ms: int) -> int:
    row = one.scored.incident
    over_ms = end_ms
    if row is not None and row.resolved_start_ms is not None:
        over_ms = row.resolved_start_ms + WINDOW_MS
    return max(at_ms, over_ms)


def _told(one: Judged, lane: Lane) -> str:
    row = one.scored.incident
    lines = [escape(name) for name in lane.names[:8]]
    if len(lane.names) > 8:
        lines.append(f"and {len(lane.names) - 8} more")
    lines.append(one.finding.value)
    if one.delay_s is not None:
        lines.append(f"after {one.delay_s:.0f} s")
    if row is not None:
        lines.append(f"{row.severity.value}, z up to {row.peak_z:.1f}")
    return "<br>".join(lines)


def _label_traces(spans: Sequence[tuple[int, int, str]], lane: int) -> Iterator[Figure]:
    if not spans:
        return
    common = {"type": "scatter", "yaxis": "y2", "name": "label"}
    bars: list[int | None] = [at for start, end, _ in spans for at in (start, end, None)]
    line = {"color": _INK, "width": 9}
    yield {**common, "mode": "lines", "x": bars, "y": [lane] * len(bars), "line": line}
    yield {
        **common,
        "mode": "markers",
        "x": [start for start, _, _ in spans],
        "y": [lane] * len(spans),
        "marker": {"color": _INK, "size": 5},
        "text": [escape(kind) for _, _, kind in spans],
        "hovertemplate": "%{x}<br>%{text}<extra></extra>",
    }
