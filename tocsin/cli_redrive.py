"""`tocsin dead-letters redrive`: send again what was put aside."""

import getpass
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import psycopg
import typer
from msgspec import structs
from rich.console import Console
from rich.progress import Progress

from tocsin.cli_tables import printable
from tocsin.dead_letters import StoredLetter, letter_id
from tocsin.errors import BrokerError, NotFound, NotSent, SettingsError, StorageError
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings

if TYPE_CHECKING:
    from sql.redrive import Outcome

_Chunks = Generator[Sequence[StoredLetter], None, None]
_Chosen = Callable[[psycopg.Connection], tuple[int, _Chunks]]
_NAMED_MAX = 20
_GROUPS_MAX = 20


def redrive(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Their ids, as 1/0/42")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="All whose reason has this part, in any case")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them")] = False,
    corrected: Annotated[
        Path | None, typer.Option("--with", help="A file with the record to send in its place")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, send nothing")
    ] = False,
    in_doubt: Annotated[
        bool, typer.Option("--in-doubt", help="Send also what may have been sent long ago")
    ] = False,
) -> None:
    """Send again what the contract allows now, each letter once; the others stay."""
    if [bool(letters), reason is not None, every].count(True) != 1:
        raise SettingsError("give the ids of the letters, or --reason, or --all")
    if corrected is not None and len(letters or ()) != 1:
        raise SettingsError("--with: give the id of the one letter that the record stands for")
    replacement = None if corrected is None else _content(corrected)

    def chosen(conn: psycopg.Connection) -> tuple[int, _Chunks]:
        if not letters:
            return _unsent(conn, reason)
        found = read(conn, letters)
        if replacement is not None:
            found = [_replaced(found[0], replacement, even_late=in_doubt)]
        return len(found), (chunk for chunk in [found])

    tally = _Tally(named=bool(letters))
    own = settings()
    if dry_run:
        _preview(own, chosen, tally)
    else:
        _send(own, chosen, tally, even_late=in_doubt)
    tally.conclude()


def _preview(own: Settings, chosen: _Chosen, tally: "_Tally") -> None:
    from sql.redrive import preview

    with database(own) as conn, database(own) as reading:
        total, chunks = chosen(reading)
        with closing(_with_progress(chunks, total)) as shown:
            for chunk in shown:
                tally.add(preview(conn, chunk))
    tally.tell()


def _send(own: Settings, chosen: _Chosen, tally: "_Tally", *, even_late: bool) -> None:
    from sql.redrive import Redriver
    from tocsin.outgoing import ConfirmedProducer
    from tocsin.topics import describe_topic

    # A broker that is away now leaves no letter in doubt.
    describe_topic(own, own.topic)
    with database(own) as conn, database(own) as reading:
        producer = ConfirmedProducer(own, own.topic)
        redriver = Redriver(conn, producer, by=_user(), even_late=even_late)
        total, chunks = chosen(reading)
        try:
            # Closed before its connection is.
            with closing(_with_progress(chunks, total)) as shown:
                for chunk in shown:
                    tally.add(redriver.redrive(chunk))
                    if tally.unconfirmed:
                        break
        finally:
            tally.tell()


class _Tally:
    """What became of the letters, to be told: each one if they were named, else counts."""

    def __init__(self, *, named: bool) -> None:
        self._named = named
        self._groups: Counter[tuple[str, str]] = Counter()
        self._lines: list[str] = []
        self._not_sent = 0
        self._in_doubt = 0
        self.unconfirmed = ""

    def add(self, outcomes: "Sequence[Outcome]") -> None:
        from sql.redrive import Verdict

        for outcome in outcomes:
            verdict, detail = outcome.verdict, outcome.detail
            self._not_sent += verdict not in {Verdict.SENT, Verdict.SENDABLE}
            self._in_doubt += verdict is Verdict.IN_DOUBT
            if verdict is Verdict.UNCONFIRMED:
                self.unconfirmed = detail
            if self._named or verdict is Verdict.IN_DOUBT:
                self._lines.append(f"{outcome.id}  {verdict.value} {detail}".rstrip())
            if not self._named:
                told = detail if verdict in {Verdict.REFUSED, Verdict.UNCONFIRMED} else ""
                self._groups[verdict.value, told] += 1

    def tell(self) -> None:
        """Print the counts, most first, and the letters that were named or are in doubt."""
        for (verdict, detail), count in self._groups.most_common(_GROUPS_MAX):
            typer.echo(f"{count:>8}  {verdict}{f': {printable(detail)}' if detail else ''}")
        if len(self._groups) > _GROUPS_MAX:
            rest = sum(self._groups.values()) - sum(
                count for _, count in self._groups.most_common(_GROUPS_MAX)
            )
            typer.echo(f"{rest:>8}  for other reasons")
        shown = self._lines if self._named else self._lines[:_NAMED_MAX]
        for line in shown:
            typer.echo(printable(line))
        if len(shown) < len(self._lines):
            typer.echo(f"... and {len(self._lines) - len(shown)} more in doubt")

    def conclude(self) -> None:
        """Raise an error if a letter is in doubt, or one that was named was not sent."""
        if not self._groups and not self._named:
            typer.echo("no letter to send again")
        if self.unconfirmed:
            raise BrokerError(
                f"Kafka did not confirm all letters ({self.unconfirmed}): run the same again within"
                " 8 minutes, nothing is stored twice"
            )
        if self._in_doubt:
            raise NotSent(
                f"{self._in_doubt} in doubt, for they may have been sent and are not among the"
                " logs: look for them on the topic, then add --in-doubt"
            )
        if self._named and self._not_sent:
            raise NotSent(f"{self._not_sent} not sent again")


def read(conn: psycopg.Connection, texts: Sequence[str]) -> list[StoredLetter]:
    """Return the letters with these ids, each once. Raises NotFound."""
    from sql.dead_letters import read_letters

    ids = list(dict.fromkeys(letter_id(text) for text in texts))
    found = read_letters(conn, ids)
    missing = [str(each) for each in ids if each not in {letter.id for letter in found}]
    if missing:
        raise NotFound(
            f"no dead letter has the id {', '.join(missing[:_NAMED_MAX])}:"
            " `tocsin dead-letters list` shows them"
        )
    return found


def settings() -> Settings:
    """Return the process's settings."""
    loaded = load_settings()
    configure_logging(loaded)
    return loaded


@contextmanager
def database(own: Settings) -> Iterator[psycopg.Connection]:
    """Connect to the database; one that goes away meanwhile is a StorageError."""
    from sql.connect import connect, unreachable
    from sql.migrate import require_current

    with connect(own.database_url, name="cli", autocommit=True) as conn:
        try:
            require_current(conn)
            yield conn
        except psycopg.OperationalError as error:
            raise StorageError(unreachable(own.database_url, error)) from None


def _unsent(conn: psycopg.Connection, reason: str | None) -> tuple[int, _Chunks]:
    from sql.dead_letters import count_unsent, unsent_letters

    return count_unsent(conn, reason), unsent_letters(conn, reason)


def _replaced(letter: StoredLetter, content: bytes, *, even_late: bool) -> StoredLetter:
    if letter.in_doubt and letter.record != content and not even_late:
        raise NotSent(
            f"{letter.id} may have been sent with another record: send that one again, without"
            " --with, or add --in-doubt"
        )
    return structs.replace(letter, corrected=content)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"--with: {file}: {error.strerror}") from None


def _with_progress(chunks: _Chunks, total: int) -> _Chunks:
    """Yield the chunks; show on a terminal how far it is."""
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with closing(chunks), bar as progress:
        task = progress.add_task("sending again", total=total)
        for chunk in chunks:
            yield chunk
            progress.advance(task, len(chunk))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a process of nobody that the system knows
        return "tocsin"
