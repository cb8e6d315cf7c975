"""`tocsin keys`: what programs send logs with."""

from datetime import datetime
from typing import Annotated

import typer

from tocsin.cli_tables import AsJson, show_objects, show_table
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings

keys = typer.Typer(help="Keys that programs send logs with.", no_args_is_help=True)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Who will send logs with it")],
    services: Annotated[
        list[str] | None,
        typer.Option(help="Only logs of this service, or as 'batch-*'; may be given again"),
    ] = None,
) -> None:
    """Make an ingest key and print it: this once, for only its hash is kept."""
    settings = _settings()
    from api.accounts import create_key as create

    typer.echo(create(settings, name, services or None))


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the ingest keys, oldest first, with when each was used last."""
    settings = _settings()
    from api.accounts import list_keys as find

    found = find(settings)
    if as_json:
        show_objects(found)
        return
    heads = ("id", "name", "services", "made (UTC)", "used last", "revoked")
    rows = [
        (
            key.id,
            key.name,
            "all" if key.services is None else ", ".join(key.services),
            *map(_minute, (key.created_at, key.last_used_at, key.revoked_at)),
        )
        for key in found
    ]
    none = "no ingest keys yet: `tocsin keys create --name NAME` makes one"
    show_table(heads, rows, whole=("id", "name"), if_none=none)


@keys.command("revoke")
def revoke_key(
    which: Annotated[str, typer.Argument(metavar="KEY", help="Its name or id")],
) -> None:
    """Revoke an ingest key: it is refused within 5 seconds, for good."""
    settings = _settings()
    from api.accounts import revoke_key as revoke

    key, was_revoked = revoke(settings, which)
    already = f" already, since {_minute(key.revoked_at)} UTC" if was_revoked else ""
    typer.echo(f"key {key.name} is revoked{already}")


def _minute(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _settings() -> Settings:
    loaded = load_settings()
    configure_logging(loaded)
    return loaded
