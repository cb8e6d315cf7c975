"""A whole Tocsin on this machine: the servers that its commands run against, and their ends."""

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stack import brokers, debian, folders
from stack.cache import Say, silent
from stack.commands import Stack
from stack.named import Named, named_servers, require_answers
from stack.ports import Ports, Wanted, free_port, http_url, require_free
from stack.state import State, load_state, lock_state, require_alone
from stack.timescale import DURABLE, FAST, Timescale
from tocsin.settings import Settings, load_settings


@contextmanager
def running(folder: Path, *, ports: Ports, say: Say = silent) -> Iterator[Stack]:
    """Run servers whose data outlives them, but for those that the environment names.

    folder: keeps the secrets, logs and recovery store; one stack at a time has it. It is made
    once all that the servers need is there: a start that fails before leaves none.
    """
    require_alone(folder)
    kind = brokers.chosen(os.environ)
    known = load_state(folder) if (folder / "state.json").exists() else None
    named = named_servers(os.environ, known, say)
    if not named.database_url:
        debian.require_root("set DATABASE_URL")
    require_free(*_wanted_ports(known, ports, named))
    require_answers(named, say)
    if not named.kafka_bootstrap:
        brokers.make_ready(kind, say)
    if not named.database_url:
        debian.lay_out(say)
    with lock_state(folder):
        state = load_state(folder)
        with _servers(
            folder=folder, state=state, ports=ports, settings=DURABLE, say=say, named=named
        ) as stack:
            yield stack


def _wanted_ports(known: State | None, ports: Ports, named: Named) -> Iterator[Wanted]:
    """Yield the fixed ports to listen on, but for those of servers that the environment names.

    Nor that of our own database when it outlived its starter: its next start ends it.
    """
    outlived = known and folders.live_postmaster(folders.folder(known.name) / "pgdata")
    if ports.database and not named.database_url and not outlived:
        yield Wanted(ports.database, "TimescaleDB", "STACK_DATABASE_PORT")
    if ports.broker and not named.kafka_bootstrap:
        yield Wanted(ports.broker, "the broker", "STACK_BROKER_PORT")
    if ports.api:
        yield Wanted(ports.api, "the API", "TOCSIN_API_PORT", ports.api_host)
    yield from _metrics_ports(load_settings(os.environ))


def _metrics_ports(settings: Settings) -> Iterator[Wanted]:
    api, flow = settings.api_metrics_port, settings.flow_metrics_port
    if api and api != settings.api_port:
        host = settings.api_metrics_host
        yield Wanted(api, "the API's metrics", "TOCSIN_API_METRICS_PORT", host)
    if flow:
        host = settings.flow_metrics_host
        yield Wanted(flow, "the flow's metrics", "TOCSIN_FLOW_METRICS_PORT", host)


@contextmanager
def temporary(*, settings: Mapping[str, str] = FAST, say: Say = silent) -> Iterator[Stack]:
    """Run servers of one's own on free ports; nothing is left of them at the end.

    DATABASE_URL and KAFKA_BOOTSTRAP of the environment are not looked at; BROKER is.
    """
    brokers.chosen(os.environ)
    debian.require_root()
    name = f"temporary-{secrets.token_hex(6)}"
    with tempfile.TemporaryDirectory(prefix="tocsin-") as text:
        folder = Path(text)
        state = load_state(folder)
        state.name = name
        try:
            with _servers(
                folder=folder,
                state=state,
                ports=Ports(),
                settings=settings,
                say=say,
                named=Named(),
            ) as stack:
                yield stack
        finally:
            folders.remove(name)


@contextmanager
def _servers(
    *,
    folder: Path,
    state: State,
    ports: Ports,
    settings: Mapping[str, str],
    say: Say,
    named: Named,
) -> Iterator[Stack]:
    (folder / "log").mkdir(exist_ok=True)
    with ExitStack() as cleanup:
        stack = Stack(
            folder=folder,
            state=state,
            database_url=named.database_url,
            kafka_bootstrap=named.kafka_bootstrap,
            api_url=http_url(ports.api_host, ports.api or free_port()),
            api_host=ports.api_host,
        )
        if not stack.database_url:
            stack.timescale = _start_timescale(folder, state, ports, settings, say)
            cleanup.callback(stack.timescale.stop)
            stack.database_url = stack.timescale.url
        if not stack.kafka_bootstrap:
            kind = brokers.chosen(os.environ)
            brokers.make_ready(kind, say)
            say(f"starting {brokers.NAMES[kind]}")
            log = folder / "log/broker.log"
            stack.broker = brokers.make(kind, folder / "kafka", log, port=ports.broker)
            stack.broker.start()
            cleanup.callback(stack.broker.stop)
            stack.kafka_bootstrap = stack.broker.bootstrap
        cleanup.callback(stack.stop_commands)
        yield stack


def _start_timescale(
    folder: Path, state: State, ports: Ports, settings: Mapping[str, str], say: Say
) -> Timescale:
    debian.lay_out(say)
    folders.sweep("temporary-")
    _sweep_forsaken()
    say("starting TimescaleDB")
    server = Timescale(
        state.name,
        password=state.database_password,
        port=ports.database,
        settings=settings,
        say=say,
    )
    server.start()
    (server.folder / "owner").write_text(str(folder))
    return server


def _sweep_forsaken() -> None:
    """Delete the data of stacks whose state folder has gone, and with it the password."""
    for owner in folders.folder("").glob("up-*/owner"):
        folder = Path(owner.read_text())
        if not (folder / "state.json").exists():
            folders.remove(owner.parent.name)
