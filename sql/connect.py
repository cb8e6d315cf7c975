"""How Tocsin connects to the database."""

from typing import Any

import psycopg

from tocsin.errors import StorageError

CONNECT_TIMEOUT_S = 10
# A peer that vanished without a word is noticed within about 20 s.
_KEEPALIVES: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_OPTIONS = "-c timezone=UTC"


def connection_arguments(name: str) -> dict[str, Any]:
    """Return what every connection of the process `name` has in common."""
    return {
        "application_name": f"tocsin-{name}",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "options": _OPTIONS,
        **_KEEPALIVES,
    }


def connect(database_url: str, *, name: str, autocommit: bool = False) -> psycopg.Connection:
    """Return a connection in UTC.

    Raises StorageError, one line without the password, when the server does not answer.
    """
    try:
        return psycopg.connect(database_url, autocommit=autocommit, **connection_arguments(name))
    except psycopg.OperationalError as error:
        raise StorageError(unreachable(database_url, error)) from None
    except psycopg.ProgrammingError:
        raise StorageError(
            "DATABASE_URL: not a connection string, use postgresql://user:password@host:5432/name"
        ) from None


def unreachable(database_url: str, error: Exception) -> str:
    """Say in one line which database does not answer, and why; never the password."""
    place = psycopg.conninfo.conninfo_to_dict(database_url)
    host = f"{place.get('host', 'localhost')}:{place.get('port', 5432)}"
    reason = " ".join(str(error).split())
    return f"database {place.get('dbname', '')} at {host} cannot be reached: {reason}"
