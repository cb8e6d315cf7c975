"""The servers that the environment names, which `make up` uses in place of its own."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn, Ping

from stack.cache import Say
from stack.errors import StackError
from stack.ports import LOOPBACK
from stack.state import MADE_HERE, State

_PATIENCE_S = 5
_KAFKA_PORT = 9092


@dataclass(frozen=True)
class Named:
    """Where the named servers are; empty where none is named, and one of our own is started."""

    database_url: str = ""
    kafka_bootstrap: str = ""


def named_servers(environ: Mapping[str, str], state: State | None, say: Say) -> Named:
    """Return the named servers, but for those of the stack itself, and say which it takes so.

    Whoever exports what `make up` prints names them, and may well start it again in that shell,
    also after `make down`, or on other ports.
    """
    url, bootstrap = environ.get("DATABASE_URL", ""), environ.get("KAFKA_BOOTSTRAP", "")
    whose = _whose_database(url, state, environ.get("STACK_DATABASE_PORT", ""))
    own_broker = _is_own_broker(bootstrap, state, whose, environ.get("STACK_BROKER_PORT", ""))
    for name, own in (("DATABASE_URL", whose != "others"), ("KAFKA_BOOTSTRAP", own_broker)):
        if own:
            say(f"{name} is as `make up` prints it: starting its own server, as if it were unset")
    return Named(url if whose == "others" else "", "" if own_broker else bootstrap)


def require_answers(named: Named, say: Say) -> None:
    """Say which named servers are used; raise StackError, naming all that do not answer."""
    asked = (
        ("DATABASE_URL", "database", named.database_url, _database_answers),
        ("KAFKA_BOOTSTRAP", "broker", named.kafka_bootstrap, _broker_answers),
    )
    unanswered = {name: what for name, what, place, ask in asked if place and not ask(place)}
    if unanswered:
        are = "are" if len(unanswered) > 1 else "is"
        raise StackError(
            f"{' and '.join(unanswered)} {are} set, and nothing answers there: `unset"
            f" {' '.join(unanswered)}` for a {' and a '.join(unanswered.values())} of make up's"
            " own, or start what should answer"
        )
    for name, what, place, _ in asked:
        if place:
            say(f"{name} is set: using the {what} there; `unset {name}` for one of make up's own")


def _whose_database(
    url: str, state: State | None, wanted_port: str
) -> Literal["own", "gone", "others"]:
    """Tell by its password whose database the URL names.

    That of this stack may be on another port by now. That of a stack which is gone, or is another
    checkout's, is where nobody listens, or not on the port that is asked for.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "others"
    password = str(parts.get("password", ""))
    if state and password in state.database_passwords:
        return "own"
    elsewhere = wanted_port not in ("", str(parts.get("port", "")))
    if password.startswith(MADE_HERE) and (elsewhere or not _database_answers(url)):
        return "gone"
    return "others"


def _is_own_broker(bootstrap: str, state: State | None, database: str, wanted_port: str) -> bool:
    """Whether the own broker was there last, and nobody else's is there now, or is asked for.

    A broker has no password to be known by. That of a stack which is gone was on loopback, and was
    printed beside its database.
    """
    host, _, port = bootstrap.rpartition(":")
    if state and bootstrap == state.kafka_bootstrap:
        was_there = state.has_own_broker
    else:
        was_there = database == "gone" and host == LOOPBACK
    return was_there and (wanted_port not in ("", port) or not _broker_answers(bootstrap))


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
