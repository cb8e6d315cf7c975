"""Tables of the command line, in which nothing is ever cut: what has no room goes on below."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line")]

_WHOLE_WIDTH = 1_000_000
_LEAST_WIDTH = 10  # of a column beside those that stay whole: a date takes two lines
_BORDERS = 3  # of a column, with its padding


def show_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    whole: Sequence[str] = (),
    title: str | None = None,
    if_none: str | None = None,
) -> None:
    """Print rows as text, no markup; as wide as they are where no terminal bounds them.

    whole: heads of the columns that people copy from, which keep to one line if they can.
    if_none: what is said instead of an empty table.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if not cells and if_none is not None:
        typer.echo(if_none)
        return
    console = Console()
    if not console.is_terminal:
        console.width = _WHOLE_WIDTH
    widths = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    is_whole = [head in whole for head in heads]
    least = sum(
        _BORDERS + (width if stays else min(width, _LEAST_WIDTH))
        for width, stays in zip(widths, is_whole, strict=True)
    )
    has_room = least < console.width
    table = Table(title=None if title is None else Text(printable(title)), title_justify="left")
    for head, stays in zip(heads, is_whole, strict=True):
        table.add_column(head, overflow="fold", no_wrap=stays and has_room)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def show_objects(rows: Iterable[object]) -> None:
    """Print one JSON object a line, in ASCII: no byte of it can steer a terminal."""
    for row in rows:
        typer.echo(json.dumps(msgspec.to_builtins(row)))


def counted(number: int, noun: str) -> str:
    """Return a number of things: 1 record, 2,000 records."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return a text that cannot steer a terminal: what is not printable is escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
