"""A backtest as one HTML page that needs nothing but itself: numbers, pictures, services."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import plotly.io
import plotly.offline
from html5tagger import HTML, Builder, Document, E

from flows.page_figures import (
    BARS_MAX,
    CURVES_MAX,
    changes_figure,
    detection_figure,
    tradeoff_figure,
)
from flows.page_services import COLOURS, LANES_MAX, band_of, lanes_of, service_figure
from flows.score_frames import told
from flows.score_tables import busiest_services, ratio, seconds
from flows.scorecard import CandidateScore, Scorecard, View
from tocsin.errors import TocsinError
from tocsin.records import EPOCH
from tocsin.settings_changes import names, own_numbers, shown

SERVICES_MAX: Final = 12
ROWS_MAX: Final = 200
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22303c; max-width: 1080px;
       margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2.2em; }
h3 { margin: 1.6em 0 0; font-size: 1em; overflow-wrap: anywhere; } p { max-width: 75ch; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.85em; }
th, td { padding: 0.15em 0.6em; text-align: right; border-bottom: 1px solid #e9ecef; }
td { white-space: nowrap; } th { vertical-align: bottom; line-height: 1.2; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.base { font-weight: bold; } .scroll { max-height: 34em; overflow: auto; }
.scroll th { position: sticky; top: 0; background: white; }
.key span { border-left: 0.9em solid; padding-left: 0.4em; margin-right: 1.2em; }
"""
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
Markup = Builder | HTML
_CONFIG: Final = {
    "displaylogo": False,
    "responsive": True,
    # None that leads to a server.
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
}


def write_page(path: Path, card: Scorecard) -> None:
    """Write the page. Raises TocsinError where that fails."""
    try:
        path.write_text(page_of(card), encoding="utf-8")
    except OSError as error:
        raise TocsinError(f"{path}: cannot be written: {error.strerror}") from None


def page_of(card: Scorecard) -> str:
    """Return the page: whatever a record or a label said is in it as text, never as markup."""
    title = f"Backtest of {_minute(card.replay.begin_ms)} to {_minute(card.replay.end_ms)} UTC"
    page = Document(title, lang="en")
    page.meta(http_equiv="Content-Security-Policy", content=_POLICY)
    page.style(HTML(_STYLE))
    page.script(HTML(plotly.offline.get_plotlyjs()))
    page.h1(title)
    page.p(" ".join(_summary(card)))
    for part in (*_scores(card), *_changes(card), *_services(card), *_base_settings(card)):
        page(part)
    return str(page)


def _summary(card: Scorecard) -> Iterator[str]:
    replay = card.replay
    yield f"Made {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, of {_text(replay.source)}:"
    yield f"{replay.records:,} records of {_count(len(replay.series), 'service')},"
    if replay.late:
        yield f"of which {replay.late:,} came late,"
    yield f"judged by {_count(len(card.candidates), 'setting')}."
    if replay.ended_early:
        yield "It was stopped before the end of its range."
    if card.view is View.CONFIRMED:
        yield "Shown are confirmed incidents, at the moment of their confirmation."
    else:
        yield "Shown are all incidents, at their opening."
    if not card.labels.incidents:
        yield "There are no labels in the range, so nothing is said of precision and recall."
        return
    yield f"They are held against {_count(len(card.labels.incidents), 'label')}."
    if not card.labels.complete:
        yield "An incident that nobody has labelled is neither a hit nor false."
    yield "Times are in UTC."


def _scores(card: Scorecard) -> Iterator[Markup]:
    yield E.h2("Settings")
    has_labels = bool(card.labels.incidents)
    order = "The best F1 first" if has_labels else "Those that change most first"
    left_out = len(card.candidates) - ROWS_MAX
    yield E.p(f"{order}; {left_out} more are not shown." if left_out > 0 else f"{order}.")
    heads = (*_HEADS, "new", "gone", "earlier", "later")
    rows = [E.tr(_cells("th", ("settings", *heads)))]
    for score in card.ranked[:ROWS_MAX]:
        cells = _cells("td", (_text(score.candidate.name), *_numbers(score)))
        rows.append(E.tr(cells, class_="base") if score is card.base else E.tr(cells))
    yield E.div(E.table(*rows), class_="scroll")
    if has_labels:
        yield E.h2("Precision against recall")
        yield E.p(
            "Each point is an outcome, which several settings may share; the star is "
            f"{_base_name(card)}. On a dotted line F1 is the same."
        )
        yield _drawn(tradeoff_figure(card))
        yield E.h2("Time to detect")
        left_out = len(card.candidates) - CURVES_MAX - 1
        rest = f" The other {left_out} are grey." if left_out > 0 else ""
        yield E.p(
            "How many of the labels are found within how long; where a line ends is its recall."
            + rest
        )
        yield _drawn(detection_figure(card))


def _changes(card: Scorecard) -> Iterator[Markup]:
    others = [score for score in card.candidates if score.changes is not None]
    if not others:
        return
    yield E.h2("What would change")
    left_out = len(others) - BARS_MAX
    rest = f" {left_out} more are not shown." if left_out > 0 else ""
    yield E.p(f"Incidents that would not be as they are by {_base_name(card)}." + rest)
    yield _drawn(changes_figure(card))


def _services(card: Scorecard) -> Iterator[Markup]:
    told_of = busiest_services(card)
    drawn = [one for one in told_of if one in card.replay.series][:SERVICES_MAX]
    if not drawn:
        return
    yield E.h2("Services")
    yield E.p(" ".join(_services_summary(card, len(drawn))))
    key = E.p(class_="key")
    for finding, colour in COLOURS.items():
        key(E.span(finding.value, style=f"border-color:{colour}"))
    yield key
    for service_id in drawn:
        yield E.h3(_text(service_id))
        hidden = len(lanes_of(card, service_id)) - LANES_MAX
        if hidden > 0:
            yield E.p(f"{hidden} more that say something else again are not shown.")
        band = band_of(service_id, card.replay.series[service_id], card.base.candidate)
        yield _drawn(service_figure(card, service_id, band))


def _base_settings(card: Scorecard) -> Iterator[Markup]:
    """Yield by which settings the base judges, so that the page can be understood later."""
    newest = card.base.candidate.versions[-1]
    versions = len(card.base.candidate.versions)
    common = newest.settings_of_pattern(None)
    yield E.h2(f"Settings of {_base_name(card)}")
    if versions > 1:
        yield E.p(f"The newest of {versions} versions; each judges the minutes from its start on.")
    yield E.p("; ".join(f"{name} {shown(getattr(common, name))}" for name in names()))
    for line in own_numbers(newest, None):
        yield E.p(_text(line))


def _services_summary(card: Scorecard, drawn: int) -> Iterator[str]:
    services = len(card.replay.series)
    if services > drawn:
        yield f"Of {services:,} services {drawn} are shown: those on which settings differ most,"
        yield "then those of which most is told."
    yield f"The band is what is normal to {_base_name(card)}: the mean and three sigma to both"
    yield "sides, of what the range itself holds, so that its first half hour is made of less."
    yield "Below it, what each setting tells, from the moment when it tells it until it is over;"
    yield "settings that tell the same share a line. Drag over a picture to look closer."


def _drawn(figure: dict[str, Any]) -> Markup:
    """Return a picture; plotly writes it as JSON in which no tag can end the script."""
    return HTML(
        plotly.io.to_html(
            figure, full_html=False, include_plotlyjs=False, validate=False, config=_CONFIG
        )
    )


def _cells(tag: str, texts: tuple[str, ...]) -> Any:
    row: Any = E
    for text in texts:
        row = getattr(row, tag)(text)
    return row


def _numbers(score: CandidateScore) -> tuple[str, ...]:
    total = score.total
    changes = ("" if count is None else str(count) for count in told(score.changes).values())
    return (
        str(total.incidents),
        ratio(total.precision),
        ratio(total.recall),
        ratio(total.f1),
        ratio(total.false_per_service_day),
        str(total.duplicates),
        seconds(total.detect_median_s),
        seconds(total.detect_p95_s),
        *changes,
    )


_HEADS: Final = (
    "told",
    "preci\u00adsion",
    "recall",
    "F1",
    "false per service-day",
    "dupli\u00adcates",
    "detect median",
    "detect p95",
)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _text(text: str) -> str:
    """Return a text of which every character can be seen: others steer what stands around them."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _base_name(card: Scorecard) -> str:
    return _text(card.base.candidate.name)


def _minute(at_ms: int) -> str:
    return f"{EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%d %H:%M}"
