"""A backtest's scores as tables in a terminal, eighty columns wide."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from flows.score_frames import told
from flows.scorecard import CandidateScore, Scorecard, View, changed
from flows.scoring import Measures

CANDIDATES_MAX: Final = 20
SERVICES_MAX: Final = 10
_NONE: Final = "-"
_WHOLE_WIDTH: Final = 1_000_000


def tables(cards: Iterable[Scorecard], width: int = 80) -> Iterator[RenderableType]:
    """Return what is to be shown of every view; of services only in the first."""
    for number, card in enumerate(cards):
        moment = (
            "confirmed incidents" if card.view is View.CONFIRMED else "all incidents, as opened"
        )
        count = len(card.labels.incidents)
        yield _title(f"{moment}: {count} label{'' if count == 1 else 's'}")
        yield from _scores(card, width)
        if card.others:
            yield _title(f"{moment} against {card.base.candidate.name}")
            yield from _changes(card, width)
        left_out = len(card.candidates) - CANDIDATES_MAX
        if left_out > 0:
            yield f"{left_out} more settings: the page and the files have them"
        if number == 0:
            yield from _services(card)


def ratio(value: float | None) -> str:
    """Show a share with three decimals."""
    return _NONE if value is None else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """Show a duration in whole seconds."""
    return _NONE if value is None else f"{value:.0f} s"


def _scores(card: Scorecard, width: int) -> Iterator[RenderableType]:
    rows = {score.candidate.name: [show(score.total) for show in _CELLS] for score in _shown(card)}
    return _of_settings(_HEADS, rows, width)


def _changes(card: Scorecard, width: int) -> Iterator[RenderableType]:
    rows = {
        score.candidate.name: [str(count) for count in told(score.changes).values()]
        for score in _shown(card)
        if score.changes is not None
    }
    return _of_settings(("new", "gone", "earlier", "later"), rows, width)


def _of_settings(
    heads: Sequence[str], rows: dict[str, list[str]], width: int
) -> Iterator[RenderableType]:
    """Yield a table by settings; where a word of them has no room in it, they stand above it.

    Nothing is folded within a word: of `min-count=50` there would be `min-count=5`, another one.
    """
    table = _table("settings", heads, rows.items())
    if _least_width(table) > width:
        numbers = {name: str(number) for number, name in enumerate(rows, 1)}
        yield from (Text(f"{number}: {_printable(name)}") for name, number in numbers.items())
        table = _table("no.", heads, ((numbers[name], cells) for name, cells in rows.items()))
    has_room = _least_width(table) <= width
    for column in table.columns[1:]:
        column.no_wrap = has_room
    yield table


def _least_width(table: Table) -> int:
    """Return how wide a table is that breaks no word."""
    console = Console(width=_WHOLE_WIDTH)
    return console.measure(table).minimum


def _services(card: Scorecard) -> Iterator[RenderableType]:
    """Yield the services that matter most, of the base and of the best other settings."""
    others = card.others
    best = next((score for score in others if changed(score.changes)), next(iter(others), None))
    pair = [card.base] if best is None else [card.base, best]
    services = busiest_services(card)
    if not services:
        return
    names = " / ".join(score.candidate.name for score in pair)
    heads = ("labels", "incidents", "hits", "false", "detect med.")
    yield _title(f"by service: {names}")
    rows = []
    for service_id in services[:SERVICES_MAX]:
        own = [score.by_service.get(service_id) for score in pair]
        labels = str(sum(one.service_id == service_id for one in card.labels.incidents))
        shows: tuple[Callable[[Measures], str], ...] = (
            lambda one: str(one.incidents),
            lambda one: str(one.hits),
            lambda one: str(one.false),
            lambda one: seconds(one.detect_median_s),
        )
        cells = [" / ".join(show(one) if one else "0" for one in own) for show in shows]
        rows.append((service_id, [labels, *cells]))
    yield _table("service", heads, rows)
    left_out = len(services) - SERVICES_MAX
    if left_out > 0:
        yield f"{left_out} more services: the files have them"


def busiest_services(card: Scorecard) -> list[str]:
    """Return the services about which anything is said, the most different and busiest first."""
    weight: dict[str, tuple[int, int]] = {}
    for score in card.candidates:
        for service_id, own in score.by_service.items():
            differing, incidents = weight.get(service_id, (0, 0))
            weight[service_id] = (differing, incidents + own.incidents + own.labels)
        for change in score.changes or ():
            differing, incidents = weight.get(change.service_id, (0, 0))
            weight[change.service_id] = (differing + changed([change]), incidents)
    return sorted(weight, key=lambda service_id: (weight[service_id], service_id), reverse=True)


def _shown(card: Scorecard) -> list[CandidateScore]:
    """Return the best candidates after the base."""
    return [card.base, *card.others[: CANDIDATES_MAX - 1]]


def _title(text: str) -> Text:
    # Above the table, not of it: a narrow one would break its title.
    return Text(_printable(text), style="bold")


def _table(first: str, heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> Table:
    table = Table(padding=(0, 0, 0, 1))
    table.add_column(first, overflow="fold")
    for head in heads:
        table.add_column(head, justify="right")
    for name, cells in rows:
        table.add_row(Text(_printable(name)), *cells)
    return table


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


_COLUMNS: Final[dict[str, Callable[[Measures], str]]] = {
    "inci-\ndents": lambda one: str(one.incidents),
    "preci-\nsion": lambda one: ratio(one.precision),
    "recall": lambda one: ratio(one.recall),
    "F1": lambda one: ratio(one.f1),
    "false per\nserv.-day": lambda one: ratio(one.false_per_service_day),
    "dupl.": lambda one: str(one.duplicates),
    "detect\nmedian": lambda one: seconds(one.detect_median_s),
    "detect\np95": lambda one: seconds(one.detect_p95_s),
}
_HEADS: Final = tuple(_COLUMNS)
_CELLS: Final = tuple(_COLUMNS.values())
