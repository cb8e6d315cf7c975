"""`tocsin users`: who may log in."""

import sys
from enum import Enum
from typing import Annotated

import typer

from tocsin.cli_tables import AsJson, show_objects, show_table
from tocsin.errors import SettingsError
from tocsin.log import configure_logging
from tocsin.settings import PASSWORD_VARIABLE, Settings, load_settings, password

users = typer.Typer(help="People who may log in.", no_args_is_help=True)

_Who = Annotated[str, typer.Argument(metavar="EMAIL", help="The address that they log in with")]


class RoleName(str, Enum):
    """The roles, for the command line."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


@users.command("create")
def create_user(
    email: Annotated[str, typer.Option(help="The address that they log in with")],
    role: Annotated[RoleName, typer.Option(help="What they may do")],
) -> None:
    """Add a user; the password comes from TOCSIN_PASSWORD, or is asked for."""
    settings = _settings()
    from api.accounts import create_user as create
    from api.accounts import require_email

    require_email(email, "--email")  # before a password is asked for
    user = create(settings, email, password() or _ask_password(), role.value)
    typer.echo(f"user {user.email} ({user.role}) is created")


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """List the users, oldest first."""
    settings = _settings()
    from api.accounts import list_users as find

    found = find(settings)
    if as_json:
        show_objects(found)
        return
    rows = (
        (user.email, user.role, f"{user.created_at:%Y-%m-%d %H:%M}", str(user.id)) for user in found
    )
    heads = ("email", "role", "since (UTC)", "id")
    none = "no users yet: `tocsin users create --email EMAIL --role admin` adds the first"
    show_table(heads, rows, whole=("email", "id"), if_none=none)


@users.command("update")
def update_user(
    who: _Who,
    role: Annotated[RoleName | None, typer.Option(help="What they may do from now on")] = None,
    new_email: Annotated[str | None, typer.Option(help="The address from now on")] = None,
    new_password: Annotated[
        bool, typer.Option("--new-password", help="From TOCSIN_PASSWORD, or asked for")
    ] = False,
) -> None:
    """Change a user; a new password ends all their sessions."""
    settings = _settings()
    from api.accounts import require_email
    from api.accounts import update_user as update

    if new_email is not None:
        require_email(new_email, "--new-email")  # before a password is asked for
    user = update(
        settings,
        who,
        email=new_email,
        role=None if role is None else role.value,
        password=(password() or _ask_password()) if new_password else None,
    )
    typer.echo(f"user {user.email} ({user.role})")


@users.command("delete")
def delete_user(who: _Who) -> None:
    """Delete a user, whose sessions end; the last admin stays."""
    settings = _settings()
    from api.accounts import delete_user as delete

    typer.echo(f"user {delete(settings, who).email} is deleted")


def _ask_password() -> str:
    if not sys.stdin.isatty():
        raise SettingsError(f"{PASSWORD_VARIABLE}: not set, and there is no terminal to ask at")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _settings() -> Settings:
    loaded = load_settings()
    configure_logging(loaded)
    return loaded
