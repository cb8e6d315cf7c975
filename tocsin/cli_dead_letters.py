"""`tocsin dead-letters`: look at what was put aside."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli_redrive import database, read, redrive, settings
from tocsin.cli_tables import AsJson, printable, show_objects, show_table
from tocsin.cli_times import read_time
from tocsin.dead_letters import LetterLine
from tocsin.errors import SettingsError

if TYPE_CHECKING:
    from sql.dead_letters import ReasonCount

dead_letters = typer.Typer(
    help="Records that broke the contract: read them, send them again.", no_args_is_help=True
)
dead_letters.command("redrive")(redrive)

_SHOWN_BYTES_MAX = 10_000


@dead_letters.command("list")
def list_letters(
    reason: Annotated[str | None, typer.Option(help="A part of the reason, in any case")] = None,
    service: Annotated[
        str | None, typer.Option("--service", "--key", help="The Kafka key, which is the service")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Arrived at or after it; RFC 3339")] = None,
    until: Annotated[str | None, typer.Option(help="Arrived before it; RFC 3339")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many")] = 50,
    summary: Annotated[bool, typer.Option("--summary", help="Count them by reason")] = False,
    as_json: AsJson = False,
) -> None:
    """List the newest, with their reasons; or count them by reason."""
    from sql.dead_letters import (
        Wanted,
        count_letters,
        read_lines,
        read_summary,
    )

    wanted = Wanted(
        reason=reason,
        key=None if service is None else service.encode(),
        since=None if since is None else read_time("--since", since),
        until=None if until is None else read_time("--until", until),
    )
    with database(settings()) as conn, conn.transaction():
        letters, reasons = count_letters(conn, wanted)
        counts = read_summary(conn, wanted, limit=limit) if summary else []
        lines = [] if summary else read_lines(conn, wanted, limit=limit)
    if as_json:
        show_objects((*counts, *map(_object, lines)))
        return
    none = "no dead letters" if wanted == Wanted() else "no dead letters match"
    if summary:
        show_table(
            ("letters", "sent again", "first (UTC)", "last (UTC)", "reason"),
            map(_summary_cells, counts),
            if_none=none,
        )
        more = reasons - len(counts)
    else:
        show_table(
            ("id", "arrived (UTC)", "key", "bytes", "reason", "state"),
            map(_cells, lines),
            whole=("id", "key"),
            if_none=none,
        )
        more = letters - len(lines)
    if more:
        typer.echo(f"{more} more: --limit shows more of them, --summary counts them by reason")


@dead_letters.command("show")
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="Its id, as 1/0/42")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write nothing but its bytes, for a file")
    ] = False,
) -> None:
    """Show one letter: its reason, arrival and key, and its bytes as text or else in hex."""
    if raw and sys.stdout.isatty():
        raise SettingsError("--raw: the bytes could steer the terminal, send them to a file")
    with database(settings()) as conn:
        [stored] = read(conn, [letter])
    if raw:
        sys.stdout.buffer.write(stored.raw)
        return
    line = stored.line
    typer.echo(f"id       {line.id}")
    typer.echo(f"topic    {printable(line.topic)}")
    typer.echo(f"arrived  {line.arrival:%F %T.%f} UTC")
    typer.echo(f"key      {_bytes_shown(line.key)}")
    typer.echo(f"reason   {printable(line.reason)}")
    typer.echo(f"state    {_state(line)}")
    for name, content in (("record", stored.raw), ("sent in its place", stored.corrected)):
        if content is not None:
            typer.echo(f"{name}, {len(content)} bytes:\n{_content_shown(content)}")


def _cells(line: LetterLine) -> tuple[str, ...]:
    key, size = _bytes_shown(line.key), str(line.size_bytes)
    return str(line.id), f"{line.arrival:%F %T}", key, size, line.reason, _state(line)


def _summary_cells(count: "ReasonCount") -> tuple[str, ...]:
    first, last = f"{count.first:%F %T}", f"{count.last:%F %T}"
    return str(count.letters), str(count.redriven), first, last, count.reason


def _state(line: LetterLine) -> str:
    redrive = line.redrive
    if redrive is None:
        return "put aside"
    if redrive.redriven_at is None:
        return f"in doubt since {redrive.begun_at:%F %T}"
    return (
        f"sent again {redrive.redriven_at:%F %T} by {printable(redrive.redriven_by or '')}"
        f" to {redrive.partition}/{redrive.offset}"
    )


def _object(line: LetterLine) -> dict[str, object]:
    """Return a letter for JSON; what is no text is in hex, under another name."""
    redrive = line.redrive
    return {
        "id": str(line.id),
        "topic": line.topic,
        "arrival": line.arrival,
        "reason": line.reason,
        **_key_object(line.key),
        "bytes": line.size_bytes,
        "redrive_begun_at": redrive and redrive.begun_at,
        "redriven_at": redrive and redrive.redriven_at,
        "redriven_by": redrive and redrive.redriven_by,
        "redriven_partition": redrive and redrive.partition,
        "redriven_offset": redrive and redrive.offset,
    }


def _key_object(key: bytes | None) -> dict[str, str | None]:
    try:
        return {"key": None if key is None else key.decode()}
    except UnicodeDecodeError:
        return {"key_hex": (key or b"").hex()}


def _bytes_shown(key: bytes | None) -> str:
    if key is None:
        return "none"
    try:
        return printable(key.decode())
    except UnicodeDecodeError:
        return f"hex {key.hex()}"


def _content_shown(content: bytes) -> str:
    """Return the beginning of a record for a terminal, line breaks as they are."""
    more = ""
    if len(content) > _SHOWN_BYTES_MAX:
        more = f"\n... {len(content) - _SHOWN_BYTES_MAX} bytes more: --raw writes all"
    try:
        content.decode()
    except UnicodeDecodeError:
        return f"hex {content[:_SHOWN_BYTES_MAX].hex(' ', 2)}{more}"
    # The cut may have gone through a character.
    text = content[:_SHOWN_BYTES_MAX].decode(errors="ignore")
    return "\n".join(map(printable, text.split("\n"))) + more
