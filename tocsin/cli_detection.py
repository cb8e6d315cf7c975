"""`tocsin detection`: the versions of the numbers that decide what a spike is."""

import getpass
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from tocsin.cli_times import read_time
from tocsin.detection import WINDOW_MS, DetectionSettings
from tocsin.errors import SettingsError
from tocsin.log import configure_logging
from tocsin.records import EPOCH
from tocsin.settings import load_settings
from tocsin.settings_changes import (
    ALL_SERVICES,
    DocumentChange,
    change_of,
    names,
    own_numbers,
    shown,
    told,
    version_after,
)
from tocsin.settings_versions import SettingsDocument, SettingsVersion, minute_of

if TYPE_CHECKING:
    from sql.detection_settings import StoredVersion

detection = typer.Typer(
    help="The numbers that decide what a spike is, in versions.", no_args_is_help=True
)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@detection.command("list")
def list_versions() -> None:
    """List the versions: when each begins to judge, who made it, what it changes."""
    from sql.detection_settings import now_ms, read_history

    with _database() as conn:
        history, present_ms = read_history(conn), now_ms(conn)
    in_force = [stored.version for stored in history if stored.withdrawn_at is None]
    present = _present(in_force, present_ms)
    console = plain_console()
    for stored in history:
        version = stored.version
        if stored.withdrawn_at is not None:
            state = "withdrawn"
        elif version is present:
            state = "judges now"
        else:
            state = "to come" if version.effective_from_ms > present_ms else "over"
        begin = minute_of(version.effective_from_ms)
        console.print(f"version {version.version} from {begin} UTC on: {state}")
        console.print(f"  made {_minute(stored.created_at)} by {stored.created_by}")
        if stored.withdrawn_at is not None:
            console.print(f"  withdrawn {_minute(stored.withdrawn_at)} by {stored.withdrawn_by}")
        for scope, changes in told(_basis(history, stored), version):
            for change in changes:
                console.print(f"  {scope}: {change}")


@detection.command("show")
def show(
    service: Annotated[
        str | None, typer.Argument(help="A service; without one, what goes for most")
    ] = None,
) -> None:
    """Show the numbers that judge now, and which versions follow when, with what they change."""
    from sql.detection_settings import now_ms, read_book

    if service is not None and not (1 <= len(service) <= 128 and service.isprintable()):
        raise SettingsError("SERVICE: give 1 to 128 printable characters")
    with _database() as conn:
        book, present_ms = read_book(conn), now_ms(conn)
    present = _present(book.versions, present_ms)
    own, defaults = _settings_of(present, service), DetectionSettings()
    table = Table("setting", "value", "default")
    for name in names():
        table.add_row(name, shown(getattr(own, name)), shown(getattr(defaults, name)))
    console = plain_console()
    since = minute_of(present.effective_from_ms)
    console.print(f"version {present.version} judges now, since {since} UTC")
    console.print(table)
    for line in own_numbers(present, service):
        console.print(line)
    older = present
    for version in book.versions:
        if version.effective_from_ms > present_ms:
            minutes = -(-(version.effective_from_ms - present_ms) // WINDOW_MS)
            begin = minute_of(version.effective_from_ms)
            console.print(f"version {version.version} follows {begin} UTC, in {minutes} min")
            tell(console, older, version, service)
            older = version


Changes = Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", show_default=False)]
Services = Annotated[
    str | None, typer.Option(help="Only for services whose id matches, as 'batch-*'")
]
Before = Annotated[
    str | None, typer.Option(help="Ask the pattern before this one; a new one comes last")
]
Start = Annotated[
    str | None, typer.Option("--from", help="RFC 3339; a full minute, at least 10 minutes ahead")
]


@detection.command("set")
def set_numbers(
    changes: Changes,
    services: Services = None,
    before: Before = None,
    start: Start = None,
) -> None:
    """Make a new version with some numbers changed; it begins in 10 minutes, or when told to."""
    _make_version(change_of(changes, services, before), start)


@detection.command("move")
def move(
    pattern: Annotated[str, typer.Argument(help="A pattern, as `show` lists it")],
    before: Annotated[
        str | None, typer.Option(help="Ask it before this one; without it, last")
    ] = None,
    start: Start = None,
) -> None:
    """Make a new version that asks a pattern earlier or later; the first that matches counts."""
    _make_version(lambda document: document.moved(pattern, before), start)


@detection.command("remove")
def remove(
    pattern: Annotated[str, typer.Argument(help="A pattern, as `show` lists it")],
    start: Start = None,
) -> None:
    """Make a new version without a pattern: its services are judged as they are without it."""
    _make_version(lambda document: document.without(pattern), start)


@detection.command("withdraw")
def withdraw(
    version: Annotated[str, typer.Argument(help="Its number, as `list` shows it")],
) -> None:
    """Withdraw the newest version, until 10 minutes before it begins; its number stays taken."""
    from sql.detection_settings import withdraw_version

    if not _NUMBER.fullmatch(version):
        raise SettingsError(f"VERSION is {version[:40]!r}: give its number, as 2")
    with _database() as conn:
        newest = withdraw_version(conn, int(version), withdrawn_by=_user())
    console = plain_console()
    console.print(f"version {version} is withdrawn and will judge nothing")
    begin = minute_of(newest.effective_from_ms)
    console.print(f"  the newest is version {newest.version}, from {begin} UTC on")


def _present(versions: Sequence[SettingsVersion], present_ms: int) -> SettingsVersion:
    begun = [version for version in versions if version.effective_from_ms <= present_ms]
    return begun[-1] if begun else versions[0]


def _basis(history: "list[StoredVersion]", newer: "StoredVersion") -> SettingsVersion:
    """Return the version that another was made to change: the newest one there was by then."""
    versions = [
        stored.version
        for stored in history
        if stored.version.version < newer.version.version
        and (stored.withdrawn_at is None or stored.withdrawn_at > newer.created_at)
    ]
    return versions[-1] if versions else SettingsVersion(1, 0, SettingsDocument())


def _make_version(change: DocumentChange, start: str | None) -> None:
    """Add a version whose document is that of the newest one, changed, and tell of it."""
    from sql.detection_settings import add_version, lock_versions, now_ms, read_book

    start_ms = None if start is None else read_start(start)
    with _database() as conn, conn.transaction():
        # Two people at once: the second one's version is built on the first one's.
        lock_versions(conn)
        older = read_book(conn).versions[-1]
        document = version_after(older, change, now_ms(conn)).document
        version = add_version(conn, document, created_by=_user(), effective_from_ms=start_ms)
    console = plain_console()
    begin = minute_of(version.effective_from_ms)
    console.print(f"version {version.version} judges the windows from {begin} UTC on")
    tell(console, older, version)


def tell(
    console: Console, before: SettingsVersion, after: SettingsVersion, service: str | None = None
) -> None:
    """Print what changes for whom; one line at least."""
    for scope, changes in told(before, after, service) or [(service or ALL_SERVICES, ["nothing"])]:
        console.print(f"  {scope}: {', '.join(changes)}")


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M}"


def _settings_of(version: SettingsVersion, service: str | None) -> DetectionSettings:
    return version.settings_for(service) if service else version.settings_of_pattern(None)


def plain_console() -> Console:
    """Return a console that shows text as it is: a pattern such as `[ab]*` is no markup."""
    return Console(soft_wrap=True, markup=False, highlight=False)


def read_start(text: str) -> int:
    """Read the start of a window. Raises SettingsError."""
    start = read_time("--from", text)
    start_ms = (start - EPOCH) // timedelta(milliseconds=1)
    if start_ms % WINDOW_MS or start.microsecond:
        raise SettingsError(f"--from: {text[:40]} is no full minute")
    return start_ms


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a process of nobody that the system knows
        return "tocsin"
    # The environment's bytes need not be UTF-8.
    return name.encode(errors="replace").decode()


@contextmanager
def _database() -> Iterator[psycopg.Connection]:
    """Lend a connection."""
    settings = load_settings()
    configure_logging(settings)
    from sql.connect import connect
    from sql.migrate import require_current

    with connect(settings.database_url, name="cli", autocommit=True) as conn:
        require_current(conn)
        yield conn
