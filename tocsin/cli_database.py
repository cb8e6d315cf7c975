"""The commands that make and keep the database: `tocsin migrate`, `tocsin maintain`."""

from threading import Event
from typing import Annotated

import structlog
import typer

from tocsin.errors import StorageError
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings
from tocsin.signals import heard

log = structlog.get_logger()

_HOUR_S = 3600.0
_MINUTE_S = 60.0


def migrate(
    show: Annotated[
        bool, typer.Option("--list", help="List the steps, and when each was applied; no more.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL of the missing steps; no more.")
    ] = False,
) -> None:
    """Bring the database to this version's schema and create the missing topics.

    Applies the settings of retention, chunks and roles anew.
    """
    settings = _settings()
    from sql.migrate import history
    from sql.migrate import migrate as migrate_database
    from tocsin.topics import create_topics

    if show or dry_run:
        steps = history(settings)
        for step, applied_at in steps:
            if show:
                when = f"{applied_at:%Y-%m-%d %H:%M:%S} UTC" if applied_at else "missing"
                typer.echo(f"{step.title}: {when}")
            if dry_run and not applied_at:
                typer.echo(f"-- {step.title}\n\n{step.text.decode()}")
        if dry_run and all(applied_at for _, applied_at in steps):
            typer.echo("-- no step is missing: the database is at this version")
        return
    migrated = migrate_database(settings)
    created = create_topics(settings)
    typer.echo(f"database: {', '.join(migrated.applied) or 'already at this version'}")
    for line in migrated.advice:
        typer.echo(f"roles: {line}", err=True)
    typer.echo(f"topics: {', '.join(created) or 'already there'}")


def maintain(
    hourly: Annotated[
        bool, typer.Option("--hourly", help="Go on, once an hour, until SIGTERM or Ctrl-C.")
    ] = False,
) -> None:
    """Drop what is older than `tocsin migrate` was told to keep."""
    settings = _settings()
    if hourly:
        _maintain_hourly(settings)
        return
    from sql.maintain import maintain as maintain_database

    typer.echo(f"dropped: {maintain_database(settings.database_url)}")


def _maintain_hourly(settings: Settings) -> None:
    from sql.maintain import maintain as maintain_database

    ending = Event()
    log.info("maintenance starts")
    wait_s = 0.0
    with heard(lambda _: ending.set()):
        while not ending.wait(wait_s):
            try:
                log.info("maintained", dropped=str(maintain_database(settings.database_url)))
                wait_s = _HOUR_S
            except StorageError as error:
                log.warning("not maintained, trying again in a minute", reason=str(error))
                wait_s = _MINUTE_S


def _settings() -> Settings:
    loaded = load_settings()
    configure_logging(loaded)
    return loaded
