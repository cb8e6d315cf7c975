"""`tocsin detection`: the versions of the numbers that decide what a spike is."""

import getpass
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import psycopg
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tocsin.detection import WINDOW_MS, DetectionSettings
from tocsin.errors import SettingsError
from tocsin.log import configure_logging
from tocsin.records import EPOCH
from tocsin.settings import load_settings
from tocsin.settings_changes import differences, names, read_changes, shown
from tocsin.settings_versions import SettingsVersion

detection = typer.Typer(
    help="The numbers that decide what a spike is, in versions.", no_args_is_help=True
)
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]


@detection.command("list")
def list_versions() -> None:
    """List the versions: when each begins to judge, who made it, what it changes."""
    from sql.detection_settings import read_authors, read_book  # noqa: PLC0415

    with _connect() as conn:
        book, authors = read_book(conn), read_authors(conn)
    table = Table("version", "judges from (UTC)", "made by", "services", "changes")
    older: SettingsVersion | None = None
    for version in book.versions:
        for services, changes in _all_changes(older, version):
            start = _start(version.effective_from_ms)
            # As text: a pattern such as `[ab]*` is no markup.
            cells = (str(version.version), start, authors[version.version], services, changes)
            table.add_row(*map(Text, cells))
        older = version
    Console().print(table)


@detection.command("show")
def show(
    service: Annotated[
        str | None, typer.Argument(help="A service; without one, what goes for most")
    ] = None,
) -> None:
    """Show the numbers that judge now, and which version will judge next."""
    from sql.detection_settings import now_ms, read_book  # noqa: PLC0415

    with _connect() as conn:
        book, present_ms = read_book(conn), now_ms(conn)
    versions = [(version, _settings_of(version, service)) for version in book.versions]
    past = [version for version, _ in versions if version.effective_from_ms <= present_ms]
    present = past[-1] if past else book.versions[0]
    defaults, own = DetectionSettings(), _settings_of(present, service)
    table = Table("setting", "value", "default")
    for name in names():
        table.add_row(name, shown(getattr(own, name)), shown(getattr(defaults, name)))
    console = Console()
    console.print(f"version {present.version}, from {_start(present.effective_from_ms)} on")
    console.print(table)
    if service is None:
        for override in present.document.overrides:
            console.print(f"other numbers judge services like {override.services}", markup=False)
    for version, numbers in versions:
        if version.effective_from_ms > present_ms:
            changed = _changes(own, numbers)
            console.print(
                f"version {version.version} begins {_start(version.effective_from_ms)}: {changed}"
            )


@detection.command("set")
def set_numbers(
    changes: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", show_default=False)],
    services: Annotated[
        str | None, typer.Option(help="Only for services whose id matches, as 'batch-*'")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="RFC 3339; a full minute, at least 10 minutes ahead"),
    ] = None,
) -> None:
    """Make a new version with some numbers changed; it begins in 10 minutes, or when told to."""
    from sql.detection_settings import add_version, lock_versions, read_book  # noqa: PLC0415

    given = read_changes(changes)
    start_ms = None if start is None else _start_ms(start)
    with _connect() as conn, conn.transaction():
        # Two people at once: the second one's version is built on the first one's.
        lock_versions(conn)
        older = read_book(conn).versions[-1]
        document = older.document.with_change(services, given)
        newer = SettingsVersion(older.version + 1, older.effective_from_ms, document)
        numbers = [version.settings_of_pattern(services) for version in (older, newer)]
        if not differences(*numbers):
            raise SettingsError(f"that would change nothing: version {older.version} says the same")
        version = add_version(conn, document, created_by=_user(), effective_from_ms=start_ms)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"version {version.version} judges the windows from"
        f" {_start(version.effective_from_ms)} UTC on"
    )
    for scope, changed in _all_changes(older, version):
        console.print(f"  {scope}: {changed}")


def _all_changes(older: SettingsVersion | None, newer: SettingsVersion) -> list[tuple[str, str]]:
    """Return (services, what changes for them); one line at least."""
    before = older or SettingsVersion(1, 0, type(newer.document)())
    found = [("all", _changes(_settings_of(before, None), _settings_of(newer, None)))]
    for override in newer.document.overrides:
        known = [old for old in before.document.overrides if old.services == override.services]
        old = before.settings_of_pattern(override.services if known else None)
        found.append(
            (override.services, _changes(old, newer.settings_of_pattern(override.services)))
        )
    telling = [(services, changes) for services, changes in found if changes]
    return telling or [("all", "nothing")]


def _settings_of(version: SettingsVersion, service: str | None) -> DetectionSettings:
    return version.settings_for(service) if service else version.settings_of_pattern(None)


def _changes(before: DetectionSettings, after: DetectionSettings) -> str:
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in differences(before, after))


def _start(start_ms: int) -> str:
    return f"{EPOCH + timedelta(milliseconds=start_ms):%Y-%m-%d %H:%M}"


def _start_ms(text: str) -> int:
    try:
        start = msgspec.convert(text, _AwareTime)
    except msgspec.ValidationError:
        raise SettingsError(
            f"--from: {text!r} is no time, give one as 2026-03-02T08:00:00Z"
        ) from None
    start_ms = (start - EPOCH) // timedelta(milliseconds=1)
    if start_ms % WINDOW_MS or start.microsecond:
        raise SettingsError(f"--from: {text} is no full minute")
    return start_ms


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a process of nobody that the system knows
        return "tocsin"


def _connect() -> psycopg.Connection:
    settings = load_settings()
    configure_logging(settings)
    from sql.connect import connect  # noqa: PLC0415
    from sql.migrate import require_current  # noqa: PLC0415

    conn = connect(settings.database_url, name="cli", autocommit=True)
    require_current(conn)
    return conn
