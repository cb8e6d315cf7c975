"""The command line: `tocsin <command>`. Every error is one line on standard error."""

import sys

import typer
from rich.console import Console
from rich.table import Table

from tocsin.errors import TocsinError
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings, settings_table

app = typer.Typer(
    help="Tocsin: logs in, incidents out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; exit 1 with one line on a known error, 130 on Ctrl-C."""
    try:
        app()
    except TocsinError as error:
        print(f"tocsin: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def migrate() -> None:
    """Bring the database to this version's schema and create the missing topics."""
    settings = _settings()
    from sql.migrate import migrate as migrate_database  # noqa: PLC0415
    from tocsin.topics import create_topics  # noqa: PLC0415

    applied = migrate_database(settings.database_url)
    created = create_topics(settings)
    typer.echo(f"database: {', '.join(applied) or 'already at this version'}")
    typer.echo(f"topics: {', '.join(created) or 'already there'}")


@app.command()
def flow() -> None:
    """Run the dataflow: topic to windows, verdicts, incidents and TimescaleDB."""
    settings = _settings()
    from flows.live import run  # noqa: PLC0415

    run(settings)


@app.command()
def settings() -> None:
    """List every setting: its environment variable, default and meaning."""
    table = Table("variable", "default", "meaning")
    for row in settings_table():
        table.add_row(*row)
    Console().print(table)


def _settings() -> Settings:
    loaded = load_settings()
    configure_logging(loaded)
    return loaded
