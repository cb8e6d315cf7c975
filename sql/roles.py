"""The database's roles: what each may do, and with which password it may log in."""

from importlib.resources import files
from typing import Final

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from sql.statements import statements
from tocsin.settings import Settings

ROLES: Final = ("tocsin_flow", "tocsin_api", "analyst", "scoped_analyst")

_SQL = statements("roles")


def apply_roles(conn: psycopg.Connection, settings: Settings) -> list[str]:
    """Make the roles, give them their rights and passwords.

    Returns, a line each, what the user lacks the right to do, and who should: everything works
    without roles, too, as long as every process connects as the owner.
    """
    lacking = [line for role in ROLES if (line := _make(conn, role))]
    if lacking:
        return lacking
    conn.execute((files("sql") / "roles.sql").read_bytes())
    known = set(conn.execute(_SQL["select_role_settings"], {"roles": list(ROLES)}))
    said = [
        _set(conn, role, name, values)
        for role, name, values in _role_settings(settings)
        if (role, f"{name}={', '.join(values)}") not in known
    ]
    said += [_give(conn, role, password) for role, password in _passwords(settings)]
    return [line for line in said if line]


def _passwords(settings: Settings) -> list[tuple[str, str]]:
    named = {
        "tocsin_flow": settings.flow_password,
        "tocsin_api": settings.api_password,
        "analyst": settings.analyst_password,
    }
    return [(role, password) for role, password in named.items() if password]


def _role_settings(settings: Settings) -> list[tuple[str, str, tuple[str, ...]]]:
    of_both = (
        ("statement_timeout", (f"{settings.analyst_timeout_s}s",)),
        # Whoever left a transaction open would keep old chunks from being dropped.
        ("idle_in_transaction_session_timeout", ("10min",)),
        ("default_transaction_read_only", ("on",)),
    )
    return [
        *(
            (role, name, values)
            for role in ("analyst", "scoped_analyst")
            for name, values in of_both
        ),
        ("scoped_analyst", "search_path", ("scoped", "public")),
    ]


def _make(conn: psycopg.Connection, role: str) -> str | None:
    if conn.execute(_SQL["select_role"], {"role": role}).fetchone() is not None:
        return None
    statement = SQL("CREATE ROLE {} NOLOGIN").format(Identifier(role))
    try:
        return _attempt(conn, statement, f"CREATE ROLE {role}")
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return None  # roles are the whole server's: a migration of another database has made it


def _set(conn: psycopg.Connection, role: str, name: str, values: tuple[str, ...]) -> str | None:
    statement = SQL("ALTER ROLE {} SET {} TO {}").format(
        Identifier(role), Identifier(name), SQL(", ").join(map(Literal, values))
    )
    return _attempt(conn, statement, f"ALTER ROLE {role} SET {name} TO {', '.join(values)}")


def _give(conn: psycopg.Connection, role: str, password: str) -> str | None:
    # The server is never shown it, so that no log of statements has it.
    verifier = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    statement = SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
        Identifier(role), Literal(verifier.decode())
    )
    return _attempt(conn, statement, f"ALTER ROLE {role} LOGIN PASSWORD '…'")


def _attempt(conn: psycopg.Connection, statement: Composed, shown: str) -> str | None:
    """Run a statement; return what to ask a superuser for where the right to it is lacking."""
    while True:
        try:
            with conn.transaction():
                conn.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            return f"{conn.info.user} may not: as a superuser run `{shown}`, then migrate again"
        except psycopg.errors.InternalError_ as error:
            # Once for each migration of another database that has changed the same role meanwhile.
            if "tuple concurrently updated" not in str(error):
                raise
        else:
            return None
