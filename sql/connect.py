"""How Tocsin connects to the database, and how it knows that a connection is no use any more."""

import re
from threading import Event
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

from sql.statements import statements
from tocsin.errors import StorageError
from tocsin.settings import Settings

CONNECT_TIMEOUT_S = 5
HURRIED_S: Final = 4.0
"""How long a process that is asked to end waits for a sign of the database, at most."""
# A peer that vanished without a word is noticed within about 20 s.
_KEEPALIVES: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_OPTIONS = "-c timezone=UTC"
_SQL = statements("connect")
_INTERVAL_S = 0.1
_SAID_ALREADY = re.compile(
    r'connection (?:failed|is bad): |connection to server (?:at|on socket) "[^"]*"'
    r"(?: \([^)]*\))?(?:, port \d+)? failed: |Is the server running [^?]*\?"
)
_UNTOLD: Final = "no password supplied"
_OF_THE_SERVER: Final = "FATAL:"
_PATIENCE_MAX: Final = 64
_NOTHING_READY = 0  # `waiting.Ready.NONE`, which the generators are sent at every interval

Result = TypeVar("Result")


class SilentDatabase(psycopg.OperationalError):
    """The database has not answered for so long that the connection is taken for lost."""


class BoundedConnection(psycopg.Connection):
    """A connection that is given up when nothing was heard on it for `patience_s`.

    A peer that hangs, or a middle box that forgot the connection and still acknowledges what it
    is sent, is alive for the kernel: neither keepalives nor `tcp_user_timeout` end such a wait.
    The server may not know that it was given up, so its session must be ended: see `Succession`.

    patience_s: None to wait for ever. stopping: when set, HURRIED_S is patience enough.
    was_silent: it was given up.
    """

    patience_s: float | None = None
    stopping: Event | None = None
    was_silent = False

    def wait(
        self,
        gen: PQGen[Result],
        interval: float = _INTERVAL_S,
        timeout: float | None = None,
    ) -> Result:
        """Wait for an operation; raise SilentDatabase when there is no sign of life."""
        if self.patience_s is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(_impatient(gen, self.patience_s, self.stopping), interval, timeout)
        except SilentDatabase:
            self.was_silent = True
            # At once: what follows, like a rollback, would wait as long again.
            self.pgconn.finish()
            raise


class BoundedAsyncConnection(AsyncConnection):
    """The same for the API."""

    patience_s: float | None = None

    async def wait(
        self,
        gen: PQGen[Result],
        interval: float = _INTERVAL_S,
        timeout: float | None = None,
    ) -> Result:
        """Wait for an operation; raise SilentDatabase when there is no sign of life."""
        if self.patience_s is None:
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(_impatient(gen, self.patience_s), interval, timeout)
        except SilentDatabase:
            self.pgconn.finish()
            raise


def _impatient(
    gen: PQGen[Result], patience_s: float, stopping: Event | None = None
) -> PQGen[Result]:
    """Pass everything through to an operation, but end it when nothing gets ready for so long."""
    heard_at = monotonic()
    hurried_at: float | None = None
    ready: Ready | int | None = None
    while True:
        try:
            wanted: Wait = gen.send(ready) if ready is not None else next(gen)
        except StopIteration as end:
            result: Result = end.value
            return result
        ready = yield wanted
        now = monotonic()
        if stopping is not None and hurried_at is None and stopping.is_set():
            hurried_at = now
        if ready != _NOTHING_READY:
            heard_at = now
        elif hurried_at is not None and now - max(heard_at, hurried_at) > HURRIED_S:
            raise SilentDatabase(
                f"no answer from the database for {HURRIED_S:g} s after the signal to stop"
            )
        elif now - heard_at > patience_s:
            raise SilentDatabase(
                f"no answer from the database for {patience_s:g} s (TOCSIN_DATABASE_PATIENCE_S)"
            )


def connection_arguments(name: str) -> dict[str, Any]:
    """Return what every connection of the process `name` has in common."""
    return {
        "application_name": f"tocsin-{name}",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "options": _OPTIONS,
        **_KEEPALIVES,
    }


def connect(
    database_url: str,
    *,
    name: str,
    autocommit: bool = False,
    patience_s: float | None = None,
    stopping: Event | None = None,
) -> BoundedConnection:
    """Return a connection in UTC.

    patience_s: how long an operation may wait without a sign of the database; None: for ever.
    stopping: when set, none waits longer than HURRIED_S.
    Raises StorageError, one line without the password, when the server does not answer.
    """
    try:
        conn = BoundedConnection.connect(
            database_url, autocommit=autocommit, **connection_arguments(name)
        )
    except psycopg.OperationalError as error:
        raise StorageError(unreachable(database_url, error)) from None
    except psycopg.ProgrammingError:
        raise StorageError(
            "DATABASE_URL: not a connection string, use postgresql://user:password@host:5432/name"
        ) from None
    conn.patience_s = patience_s
    conn.stopping = stopping
    return conn


class Succession:
    """Connections of which each takes the place of the one before it.

    The session of a connection that was lost or given up may live on in the server, hold its locks
    and even commit what was still under way. So it is ended before the next one is used, which
    then sees for good what was stored.
    """

    def __init__(
        self,
        database_url: str,
        *,
        name: str,
        patience_s: float,
        autocommit: bool = False,
        stopping: Event | None = None,
    ) -> None:
        self._database_url = database_url
        self._name = name
        self._least_patience_s = self._patience_s = patience_s
        self._autocommit = autocommit
        self._stopping = stopping
        self._former: tuple[BoundedConnection, int] | None = None

    def connect(self) -> psycopg.Connection:
        """Return the next connection.

        It is twice as patient as one that was given up: what takes long must succeed at last.
        Raises StorageError when the server does not answer, or the former session does not end.
        """
        conn = connect(
            self._database_url,
            name=self._name,
            autocommit=True,
            patience_s=self._patience_s,
            stopping=self._stopping,
        )
        try:
            if self._former is not None:
                self._end(*self._former, conn)
            conn.autocommit = self._autocommit
        except BaseException:
            conn.close()
            raise
        self._former = conn, conn.info.backend_pid
        return conn

    def _end(self, former: BoundedConnection, pid: int, conn: BoundedConnection) -> None:
        for (has_ended,) in conn.execute(_SQL["end_session"], {"pid": pid}).fetchall():
            if not has_ended:
                raise StorageError("the session of the connection before does not end")
        most_s = self._least_patience_s * _PATIENCE_MAX
        self._patience_s = (
            min(2 * self._patience_s, most_s) if former.was_silent else self._least_patience_s
        )
        conn.patience_s = self._patience_s


def unreachable(database_url: str, error: Exception) -> str:
    """Say in one line which database cannot be used, why and what to do; never the password."""
    place = psycopg.conninfo.conninfo_to_dict(database_url)
    host = f"{place.get('host', 'localhost')}:{place.get('port', 5432)}"
    # The library names the host again for each attempt, asks whether it runs there, and repeats
    # all of it where there were several hosts.
    text = " ".join(str(error).partition("Multiple connection attempts")[0].split())
    reasons = dict.fromkeys(map(str.strip, _SAID_ALREADY.split(text)))
    reason = ", ".join(filter(None, reasons)) or "no word why"
    # No SQLSTATE is handed out of a connection that was not made: the text tells who speaks.
    if _UNTOLD in reason:
        what, advice = "asks for a password", "DATABASE_URL has none:"
    elif _OF_THE_SERVER in reason:
        what, advice = f"refuses: {reason}", "is DATABASE_URL right?"
    else:
        what = f"cannot be reached: {reason}"
        advice = "is it running, and is DATABASE_URL right?"
    if database_url == Settings().database_url:
        advice = "DATABASE_URL is not set:"
    return (
        f"database {place.get('dbname', '')} at {host} {what}; {advice}"
        " `make show` prints that of `make up`"
    )
