"""The servers that the environment names, which `make up` uses in place of its own."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn, Ping

from stack.cache import Say
from stack.errors import StackError
from stack.state import State

_PATIENCE_S = 5
_KAFKA_PORT = 9092


@dataclass(frozen=True)
class Named:
    """Where the named servers are; empty where none is named, and one of our own is started."""

    database_url: str = ""
    kafka_bootstrap: str = ""


def named_servers(environ: Mapping[str, str], state: State | None, say: Say) -> Named:
    """Return the named servers, but for those of the stack itself, and say which it takes so.

    Whoever exports what `make up` prints names them, and may well start it again in that shell.
    """
    named = {name: environ.get(name, "") for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP")}
    is_own = {"DATABASE_URL": _is_own_database, "KAFKA_BOOTSTRAP": _is_own_broker}
    for name, place in named.items():
        if state and place and is_own[name](place, state):
            say(f"{name} is that of this stack: starting its own server, as if it were unset")
            named[name] = ""
    return Named(named["DATABASE_URL"], named["KAFKA_BOOTSTRAP"])


def require_answers(named: Named) -> None:
    """Raise StackError when nothing answers where a named server should be."""
    for variable, place, what, answers in (
        ("DATABASE_URL", named.database_url, "a database", _database_answers),
        ("KAFKA_BOOTSTRAP", named.kafka_bootstrap, "a broker", _broker_answers),
    ):
        if place and not answers(place):
            raise StackError(
                f"{variable} is set, and nothing answers there: unset it for {what} of make up's"
                " own, or start that server"
            )


def _is_own_database(url: str, state: State) -> bool:
    """Whether the URL has a password that this stack made, be it on another port by now."""
    made = {
        state.database_password,
        state.flow_password,
        state.api_password,
        state.analyst_password,
    }
    try:
        return conninfo_to_dict(url).get("password") in made
    except psycopg.ProgrammingError:
        return False


def _is_own_broker(bootstrap: str, state: State) -> bool:
    """Whether the own broker was there last, and nobody else's is there now."""
    was_there = state.has_own_broker and bootstrap == state.kafka_bootstrap
    return was_there and not _broker_answers(bootstrap)


def _database_answers(url: str) -> bool:
    """Whether a server answers, be it with a refusal; what is no URL is told by who uses it."""
    try:
        conninfo = make_conninfo(url, connect_timeout=_PATIENCE_S)
    except psycopg.ProgrammingError:
        return True
    return PGconn.ping(conninfo.encode()) != Ping.NO_RESPONSE


def _broker_answers(bootstrap: str) -> bool:
    """Whether any of the brokers takes a connection; what is no place is told by who uses it."""
    for text in bootstrap.split(","):
        place = urlsplit(text.strip() if "://" in text else f"//{text.strip()}")
        try:
            address = (place.hostname or "", place.port or _KAFKA_PORT)
            socket.create_connection(address, timeout=_PATIENCE_S).close()
        except ValueError:
            return True
        except OSError:
            continue
        return True
    return False
