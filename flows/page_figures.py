"""The pictures of a backtest over all services: precision against recall, time, changes."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from flows.score_frames import told
from flows.scorecard import CandidateScore, Scorecard

Figure = dict[str, Any]

CURVES_MAX: Final = 6
BARS_MAX: Final = 40
_NAMES_MAX: Final = 12
_INK, _GREY, _BASE = "#22303c", "#ced4da", "#c1121f"
_PALETTE: Final = ("#1d4e89", "#2b8a3e", "#e8890c", "#7048a8", "#0c8599", "#a0522d")
_CHANGES: Final = {"new": "#1d4e89", "gone": "#8e9aaf", "earlier": "#2b8a3e", "later": "#e8890c"}


def tradeoff_figure(card: Scorecard) -> Figure:
    """Return precision against recall: a point for each outcome, which settings may share."""
    points: dict[tuple[float, float], list[CandidateScore]] = defaultdict(list)
    for score in card.candidates:
        recall, precision = score.total.recall, score.total.precision
        if recall is not None and precision is not None:
            points[recall, precision].append(score)
    return {
        "data": [*_isolines(), _points(card, points)],
        "layout": _layout(
            460,
            xaxis={
                "title": {"text": "recall: share of the labels found"},
                "range": _around([recall for recall, _ in points]),
            },
            yaxis={
                "title": {"text": "precision: share of what was told that was any"},
                "range": _around([precision for _, precision in points]),
            },
        ),
    }


def detection_figure(card: Scorecard) -> Figure:
    """Return what share of the labels is found within which time: of base, best and rest."""
    best, rest = card.others[:CURVES_MAX], card.others[CURVES_MAX:]
    curves = [{**_curve(card, score, _GREY, 0.7), "showlegend": False} for score in rest]
    curves += [
        _curve(card, score, colour, 1.6) for score, colour in zip(best, _PALETTE, strict=False)
    ]
    curves.append(_curve(card, card.base, _BASE, 3))
    return {
        "data": curves,
        "layout": _layout(
            400,
            xaxis={"title": {"text": "seconds from the label's start"}, "type": "log", "dtick": 1},
            yaxis={"title": {"text": "share of the labels found"}, "range": [0, 1.03]},
            legend={"x": 1, "xanchor": "right", "y": 0.02, "bgcolor": "rgba(255,255,255,0.8)"},
        ),
    }


def changes_figure(card: Scorecard) -> Figure:
    """Return how many incidents are new, gone, earlier and later, of the settings that matter."""
    scores = [score for score in card.ranked if score.changes is not None][:BARS_MAX]
    counts = [told(score.changes) for score in scores]
    numbers = list(range(len(scores)))
    name = escape(_short(card.base.candidate.name))
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": what,
                "y": numbers,
                "x": [count[what] for count in counts],
                "marker": {"color": colour},
                "hovertemplate": f"%{{x}} {what}<extra></extra>",
            }
            for what, colour in _CHANGES.items()
        ],
        "layout": _layout(
            110 + 22 * len(scores),
            barmode="stack",
            margin={"l": 260, "r": 20, "t": 10, "b": 50},
            xaxis={
                "title": {"text": f"incidents that are not as by {name}"},
                "rangemode": "tozero",
            },
            yaxis={
                "tickvals": numbers,
                "ticksuffix": " ",
                "ticktext": [escape(_short(score.candidate.name)) for score in scores],
                "autorange": "reversed",
            },
            legend={"orientation": "h", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        ),
    }


def _around(shares: Sequence[float]) -> list[float]:
    """Return a range that shows some shares with room around them."""
    low, high = min(shares, default=0), max(shares, default=1)
    room = max(0.04, (high - low) / 10)
    return [max(-0.02, low - room), min(1.03, high + room)]


def _isolines() -> list[Figure]:
    """Return the lines on which F1 is the same."""
    lines = []
    for tenths in (2, 4, 6, 8, 9):
        f1 = tenths / 10
        recalls = [number / 200 for number in range(201) if number / 200 > f1 / (2 - f1)]
        lines.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": recalls,
                "y": [f1 * recall / (2 * recall - f1) for recall in recalls],
                "line": {"color": "#dee2e6", "width": 1, "dash": "dot"},
                "name": f"F1 {f1}",
                "hoverinfo": "name",
                "showlegend": False,
            }
        )
    return lines


def _points(card: Scorecard, points: dict[tuple[float, float], list[CandidateScore]]) -> Figure:
    has_base = [any(one is card.base for one in scores) for scores in points.values()]
    name = escape(_short(card.base.candidate.name))
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [recall for recall, _ in points],
        "y": [precision for _, precision in points],
        "marker": {
            "size": [17 if base else 11 for base in has_base],
            "symbol": ["star" if base else "circle" for base in has_base],
            "color": [_BASE if base else "#1d4e89" for base in has_base],
            "opacity": 0.75,
        },
        "text": [name if base else "" for base in has_base],
        "textposition": "top left",
        "hovertext": [_point_text(scores) for scores in points.values()],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "showlegend": False,
    }


def _point_text(scores: Sequence[CandidateScore]) -> str:
    total = scores[0].total
    lines = [escape(score.candidate.name) for score in scores[:_NAMES_MAX]]
    if len(scores) > _NAMES_MAX:
        lines.append(f"and {len(scores) - _NAMES_MAX} more")
    lines.append(f"precision {total.precision:.3f}, recall {total.recall:.3f}, F1 {total.f1:.3f}")
    return "<br>".join(lines)


def _curve(card: Scorecard, score: CandidateScore, colour: str, width: float) -> Figure:
    # At least a second: the axis is logarithmic.
    delays = sorted(max(1, one.delay_s) for one in score.judged if one.delay_s is not None)
    labels = len(card.labels.incidents)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [1, *delays],
        "y": [0, *(round(number / labels, 4) for number in range(1, len(delays) + 1))],
        "line": {"color": colour, "width": width, "shape": "hv"},
        "name": escape(_short(score.candidate.name)),
        "hovertemplate": "%{y:.0%} within %{x:.0f} s<extra>%{fullData.name}</extra>",
    }


def _layout(height: int, **more: Any) -> Figure:
    layout: Figure = {
        "height": height,
        "margin": {"l": 70, "r": 20, "t": 10, "b": 50},
        "plot_bgcolor": "white",
        "font": {"color": _INK, "size": 12},
        "hovermode": "closest",
        **more,
    }
    for axis in ("xaxis", "yaxis"):
        layout[axis] = {"gridcolor": "#e9ecef", "zeroline": False, **layout[axis]}
    return layout


def _short(name: str) -> str:
    return name if len(name) <= 36 else f"{name[:35]}…"
