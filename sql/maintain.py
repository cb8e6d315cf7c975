"""Maintenance: drops what is older than is kept, where the server does not by itself."""

from dataclasses import dataclass

import psycopg

from sql.connect import connect
from sql.migrate import require_current
from sql.policies import follow_retention
from sql.statements import statements
from sql.timescale import edition
from tocsin.errors import StorageError

_SQL = statements("maintain")


@dataclass(frozen=True)
class Maintained:
    """What was dropped: chunks of logs and of windows, and dead letters."""

    logs: int
    error_windows: int
    dead_letters: int

    def __str__(self) -> str:
        """Tell it."""
        return (
            f"{self.logs} chunks of logs, {self.error_windows} chunks of windows, "
            f"{self.dead_letters} dead letters"
        )


def maintain(database_url: str) -> Maintained:
    """Drop old chunks (Apache 2 edition) and dead letters, as `tocsin migrate` has said.

    Nothing is dropped unless all is. Raises SchemaOutdated, StorageError.
    """
    with connect(database_url, name="maintain") as conn:
        try:
            require_current(conn)
            return _maintain(conn)
        except (
            psycopg.errors.LockNotAvailable,
            psycopg.errors.QueryCanceled,
            psycopg.errors.DeadlockDetected,
        ):
            raise StorageError(
                "somebody is using what is to be dropped, nothing was: try again later"
            ) from None
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"the database went away, nothing was dropped: {reason}") from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise StorageError(
                f"{conn.info.user} may not maintain the database {conn.info.dbname} "
                f"({error.diag.message_primary}): connect as its owner"
            ) from None


def _maintain(conn: psycopg.Connection) -> Maintained:
    conn.execute(_SQL["bound_maintenance"])
    conn.execute(_SQL["lock_maintenance"])
    found = edition(conn)
    follow_retention(conn, found)
    dropped = dict.fromkeys(("logs", "error_windows", "dead_letters"), 0)
    for relation, keep in conn.execute(_SQL["select_keep"]).fetchall():
        values = {"relation": relation, "keep": keep}
        if relation == "dead_letters":
            dropped[relation] = conn.execute(_SQL["delete_dead_letters"], values).rowcount
        elif found == "apache":
            dropped[relation] = conn.execute(_SQL["drop_old_chunks"], values).rowcount
    return Maintained(**dropped)
