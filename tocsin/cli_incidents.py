"""`tocsin incidents`: see which there are, say which were any, and which were missed."""

import re
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli_tables import AsJson, printable, show_objects, show_table
from tocsin.cli_times import read_time
from tocsin.errors import SettingsError
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings

if TYPE_CHECKING:
    from sql.incidents import IncidentRow
    from sql.labels import AnyLabelRow

incidents = typer.Typer(
    help="Incidents: which there are, which were any, and which were missed.", no_args_is_help=True
)

_NOTE_CHARACTERS_MAX = 10_000
_ID_SHOWN = 8  # enough to name it by, as good as always; JSON has it whole
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")

Note = Annotated[str | None, typer.Option(help="What there is to say beside it")]


class _Truth(str, Enum):
    """What an incident was."""

    TRUE = "true"
    FALSE = "false"


@incidents.command("list")
def list_incidents(
    is_open: Annotated[
        bool, typer.Option("--open", help="Only those that are not resolved")
    ] = False,
    service: Annotated[str | None, typer.Option(help="Only those of this service")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the incidents, newest first."""
    settings = _settings()
    from sql.incidents import IncidentFilter, IncidentRow, IncidentTable
    from sql.reader import Reader, with_reader

    wanted = IncidentFilter(service_id=service, status_not="RESOLVED" if is_open else None)

    async def work(reader: Reader) -> list[IncidentRow]:
        rows, _ = await IncidentTable(reader).page(wanted, limit=limit + 1, offset=0)
        return rows

    found = with_reader(settings.database_url, work)
    shown = found[:limit]
    if as_json:
        show_objects(shown)
        return
    if not shown:
        which = "no incident" if service is None else f"no incident of {printable(service)}"
        typer.echo(f"{which} is open" if is_open else f"there is {which}")
        return
    heads = ("id", "service", "severity", "status", "opened (UTC)", "confirmed", "title")
    show_table(heads, map(_incident_cells, shown), whole=("id", "service"))
    if len(found) > limit:
        typer.echo(f"these are the newest {limit}, there are more: --limit shows them")


def _incident_cells(row: "IncidentRow") -> tuple[str, ...]:
    confirmed = "by hand" if row.kind == "manual" else "yes" if row.confirmed else "no"
    named = row.id[:_ID_SHOWN], row.service_id, row.severity, row.status
    return *named, _minute(row.opened_at), confirmed, row.title


@incidents.command("label")
def label(
    incident_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, or how only that one begins")
    ],
    truth: Annotated[
        _Truth,
        typer.Argument(metavar="true|false", help="Whether it was any", case_sensitive=False),
    ],
    note: Note = None,
) -> None:
    """Say of an incident whether it was one, or a false alarm; the last word counts."""
    settings = _settings()
    from sql.audit import command_line
    from sql.labels import LabelRow, LabelTable
    from sql.reader import Reader, with_reader

    async def work(reader: Reader) -> LabelRow:
        labels = LabelTable(reader)
        found = await labels.find_incident(incident_id)
        is_true = truth is _Truth.TRUE
        return await labels.label(found, is_true=is_true, note=_note(note), by=command_line())

    row = with_reader(settings.database_url, work)
    typer.echo(f"incident {row.incident_id} is labelled {truth.value}")


@incidents.command("missed")
def missed(
    service: Annotated[str, typer.Argument(help="Whose incident it was")],
    start: Annotated[str, typer.Option("--from", help="When it began; RFC 3339")],
    end: Annotated[str, typer.Option("--to", help="When it was over; RFC 3339")],
    note: Note = None,
) -> None:
    """Say that a service had an incident that was not opened, or not in time."""
    settings = _settings()
    from sql.audit import command_line
    from sql.labels import LabelTable, MissedRow
    from sql.reader import Reader, with_reader

    began, over = read_time("--from", start), read_time("--to", end)
    if began >= over:
        raise SettingsError("--to: must lie after --from")
    if over > datetime.now(timezone.utc):
        raise SettingsError("--to: lies in the future, give when it was over")

    async def work(reader: Reader) -> MissedRow:
        return await LabelTable(reader).add_missed(
            service, began, over, note=_note(note), by=command_line()
        )

    row = with_reader(settings.database_url, work)
    typer.echo(f"missed:{row.id} of {printable(row.service_id)} is labelled")


@incidents.command("labels")
def list_labels(as_json: AsJson = False) -> None:
    """List the labels, newest incident first."""
    settings = _settings()
    from sql.labels import AnyLabelRow, LabelTable
    from sql.reader import Reader, with_reader

    async def work(reader: Reader) -> list[AnyLabelRow]:
        return await LabelTable(reader).all()

    found = with_reader(settings.database_url, work)
    if as_json:
        show_objects(found)
        return
    heads = ("label of", "service", "label", "from (UTC)", "to (UTC)", "by", "note")
    none = "no labels yet: `tocsin incidents label ID true` says that an incident was one"
    show_table(heads, map(_cells, found), whole=("label of", "service"), if_none=none)


def _cells(row: "AnyLabelRow") -> tuple[str, ...]:
    said = "missed" if row.is_true is None else str(row.is_true).lower()
    which = row.incident_id or f"missed:{row.missed_id}"
    times = (_minute(row.started_at), _minute(row.ended_at))
    return which, row.service_id, said, *times, row.labelled_by, row.note or ""


@incidents.command("unlabel")
def unlabel(
    which: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Of an incident, or how only that one begins; or missed:NUMBER"
        ),
    ],
) -> None:
    """Take a label back: of an incident, or of a missed one by its number."""
    settings = _settings()
    from sql.audit import command_line
    from sql.labels import LabelTable
    from sql.reader import Reader, with_reader

    async def work(reader: Reader) -> str:
        labels, by = LabelTable(reader), command_line()
        kind, colon, number = which.partition(":")
        if not colon:
            row = await labels.remove(await labels.find_incident(which), by=by)
            return f"incident {row.incident_id} has a label no more"
        if kind != "missed" or not _NUMBER.fullmatch(number):
            raise SettingsError(f"ID is {which[:40]!r}: give an incident's id, or as missed:2")
        gone = await labels.remove_missed(int(number), by=by)
        return f"missed:{gone.id} of {printable(gone.service_id)} is a label no more"

    typer.echo(with_reader(settings.database_url, work))


def _note(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    if len(text) > _NOTE_CHARACTERS_MAX:
        raise SettingsError(f"--note: give at most {_NOTE_CHARACTERS_MAX} characters")
    return text


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _settings() -> Settings:
    loaded = load_settings()
    configure_logging(loaded)
    return loaded
