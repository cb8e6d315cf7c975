"""The command line: `tocsin <command>`. Every error is one line on standard error."""

import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from tocsin.cli_backtest import backtest
from tocsin.cli_database import maintain, migrate
from tocsin.cli_dead_letters import dead_letters
from tocsin.cli_detection import detection
from tocsin.cli_export import export
from tocsin.cli_incidents import incidents
from tocsin.cli_keys import keys
from tocsin.cli_replay import replay
from tocsin.cli_tables import AsJson, show_objects, show_table
from tocsin.cli_try import try_numbers
from tocsin.cli_users import users
from tocsin.errors import Disagreement, SettingsError, TocsinError
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings, settings_table, values_table


class _Commands(TyperGroup):
    """All commands; what is wrong with a value is told without its checker's words before it."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # it is one
        """Run the command that is named."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    cls=_Commands,
    help="Tocsin: logs in, incidents out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(migrate)
app.command()(maintain)
app.command()(export)
app.add_typer(users, name="users")
app.add_typer(keys, name="keys")
detection.command("try")(try_numbers)
app.add_typer(detection, name="detection")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(incidents, name="incidents")
app.command()(backtest)
app.command()(replay)


def main() -> None:
    """Run the command line; exit 1 with one line on a known error, 130 on Ctrl-C."""
    try:
        _require_text(sys.argv[1:])
        app()
    except TocsinError as error:
        print(f"tocsin: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _is_of_the_database(error):
            raise
        print(f"tocsin: the database: {_in_a_line(error)}", file=sys.stderr)
        sys.exit(1)


def _is_of_the_database(error: Exception) -> bool:
    # Only if a command has imported it: it costs a tenth of a second.
    psycopg = sys.modules.get("psycopg")
    return psycopg is not None and isinstance(error, psycopg.Error)


def _in_a_line(error: Exception) -> str:
    from psycopg import errors

    text = " ".join(str(error).split())
    if isinstance(error, errors.InsufficientPrivilege):
        return f"{text}: give the DATABASE_URL of its owner"
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return f"{text}: give the DATABASE_URL of its owner, on the primary server"
    return text


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"tocsin {version('tocsin')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version; no more."
        ),
    ] = False,
) -> None:
    """Take the options that go before any command."""


@app.command()
def flow(
    workers: Annotated[int, typer.Option(min=1, help="Threads that share the partitions.")] = 1,
    process: Annotated[
        int, typer.Option("-i", "--process", min=0, help="Number of this process, from 0 on.")
    ] = 0,
    addresses: Annotated[
        str,
        typer.Option(
            "-a", "--addresses", help="host:port of every process in order, separated by commas."
        ),
    ] = "",
) -> None:
    """Run the dataflow: topic to windows, verdicts, incidents and TimescaleDB.

    Several processes share the work when each is given all their addresses and its own number;
    they share the recovery folder, and are started and stopped together.
    """
    settings = _settings()
    from flows.cluster import cluster_of
    from flows.live import run

    run(settings, cluster_of(workers, process, addresses))


@app.command()
def api() -> None:
    """Run the API: logs in over HTTP, incidents out."""
    settings = _settings()
    from api.serve import run

    run(settings)


@app.command()
def explain(
    incident_id: Annotated[str, typer.Argument(help="Its id, or how only that one begins")],
) -> None:
    """Recompute an incident from the ledger and print the arithmetic; exit 1 if it disagrees."""
    settings = _settings()
    from flows.explain import explain_stored
    from sql.incidents import read_whole_ledger

    ledger = read_whole_ledger(settings.database_url, incident_id)
    explanation = explain_stored(ledger.incident, ledger.windows, ledger.timeline)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for line in explanation.lines:
        console.print(line, style=None if line.startswith(" ") else "bold")
    count = len(explanation.disagreements)
    if count:
        raise Disagreement(
            f"incident {explanation.incident_id} is not what its ledger says:"
            f" {count} difference{'s' if count > 1 else ''}"
        )


@app.command()
def settings(as_json: AsJson = False) -> None:
    """List every setting: its environment variable, value in force, default and meaning."""
    heads = ("variable", "value", "default", "meaning")
    try:
        rows = values_table(load_settings())
    except SettingsError:
        # The error sends its reader here, to see which there are.
        show_table(("variable", "default", "meaning"), settings_table(), whole=("variable",))
        raise
    if as_json:
        show_objects(dict(zip(heads, row, strict=True)) for row in rows)
    else:
        show_table(heads, rows, whole=("variable",))


@app.command()
def demo() -> None:
    """Play the main job on servers of its own: history, a burst of errors, the incident."""
    try:
        from stack.demo import demo as play
    except ImportError:
        raise TocsinError(
            "the demonstration needs a checkout with its tools: run `make demo` there"
        ) from None

    play(Console())


def _require_text(words: list[str]) -> None:
    """Refuse what the terminal sent that is no text: neither JSON nor the database takes it."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = repr(os.fsencode(word)[:40])[1:]
            raise SettingsError(f"{shown}: is not UTF-8") from None


def _settings() -> Settings:
    loaded = load_settings()
    configure_logging(loaded)
    return loaded
