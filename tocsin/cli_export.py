"""`tocsin export`: logs, windows or incidents as a file."""

from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tocsin.cli_times import read_time
from tocsin.errors import SettingsError
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings

if TYPE_CHECKING:
    from sql.export import Table


class What(str, Enum):
    """The tables, for the command line."""

    LOGS = "logs"
    WINDOWS = "windows"
    INCIDENTS = "incidents"


def export(
    what: Annotated[What, typer.Argument(help="Which rows")],
    file: Annotated[Path, typer.Argument(help="Where to; NAME.parquet or NAME.csv")],
    since: Annotated[
        str | None, typer.Option("--from", help="At or after it, RFC 3339; else from the oldest on")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Before it; else up to the newest")
    ] = None,
    by_arrival: Annotated[
        bool,
        typer.Option(
            "--by-arrival", help="Of logs: --from and --to are of arrival, and so is the order"
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name")] = (
        False
    ),
) -> None:
    """Write the rows of a time to a file, Parquet or CSV; it appears when it is whole."""
    settings = _settings()
    from sql.connect import connect
    from sql.export import export as write
    from sql.migrate import require_current

    since_at, until_at = _time("--from", since), _time("--to", until)
    if since_at and until_at and since_at >= until_at:
        raise SettingsError("--to: give a time after --from")
    if by_arrival and what is not What.LOGS:
        raise SettingsError(f"--by-arrival: goes with logs, not with {what.value}")
    _check(file, overwrite=overwrite)
    with connect(settings.database_url, name="export") as conn, _progress() as bar:
        require_current(conn)
        conn.rollback()
        task = bar.add_task(what.value, total=None, rows=0)

        def tell(done: int, slices: int, rows: int) -> None:
            bar.update(task, completed=done, total=slices, rows=rows)

        table: Table = "logs_by_arrival" if by_arrival else what.value
        rows = write(conn, table, file, since=since_at, until=until_at, progress=tell)
    typer.echo(f"{what.value}: {rows} rows in {file}, {file.stat().st_size} bytes")


def _check(file: Path, *, overwrite: bool) -> None:
    from sql.export import SUFFIXES

    if file.suffix not in SUFFIXES:
        raise SettingsError(f"FILE: {file} is neither NAME.parquet nor NAME.csv")
    if not file.parent.is_dir():
        raise SettingsError(f"FILE: there is no folder {file.parent}")
    if file.is_dir():
        raise SettingsError(f"FILE: {file} is a folder")
    if file.exists() and not overwrite:
        raise SettingsError(f"FILE: {file} exists; --overwrite replaces it")


def _progress() -> Progress:
    """Return a bar on standard error; none where nobody watches."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _time(option: str, text: str | None) -> datetime | None:
    return None if text is None else read_time(option, text)


def _settings() -> Settings:
    loaded = load_settings()
    configure_logging(loaded)
    return loaded
