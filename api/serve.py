"""Running the API: what is checked before it boots, and the processes that serve it."""

import gc
import multiprocessing
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

import structlog

from api.addresses import Addresses
from api.app import App, create_app
from api.connections import BoundedProtocol
from api.cors import Cors
from api.counts import counts_of
from api.exposition import exposed
from api.naming import name_request
from sql.connect import connect
from sql.migrate import require_current
from tocsin.errors import SettingsError, WorkerEnded
from tocsin.log import configure_logging
from tocsin.settings import Settings, require_jwt_secrets

_NAME = "tocsin"
_BACKLOG = 1024

log = structlog.get_logger("api")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted.

    Raises, before anything is served: SettingsError (secret, origins, port), StorageError and
    SchemaOutdated. A broker that is away stops nobody from reading: `/readyz` and the log tell.
    """
    require_jwt_secrets(settings)
    Addresses(settings)
    counts_of(settings.limit_storage)
    Cors(settings)
    with connect(settings.database_url, name="api") as conn:
        require_current(conn)
    with ExitStack() as stack:
        socks = [stack.enter_context(sock) for sock in _listen(settings)]
        stack.enter_context(exposed(settings))
        configure_logging(settings, name_request)
        if len(socks) == 1:
            app = create_app(settings=settings, name=_NAME)
            serve: Callable[[], None] = partial(_serve, app, socks[0])
        else:
            serve = _Workers(settings, socks).run
        host = settings.api_host
        place = f"[{host}]" if ":" in host else host
        log.info("listening", url=f"http://{place}:{settings.api_port}")
        serve()


class _Workers:
    """Several processes, each with a socket of its own; they live and end together.

    Sanic's own worker manager loops for ever when SIGTERM comes while workers still start.
    """

    def __init__(self, settings: Settings, socks: Sequence[socket.socket]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._socks = socks
        self._told, self._telling = spawn.Pipe(duplex=False)
        self._processes = [
            spawn.Process(target=_work, args=(settings, sock, self._told), name=f"api-{number}")
            for number, sock in enumerate(socks)
        ]
        self._stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def run(self) -> None:
        """Start all and wait for their end. Raises WorkerEnded when one ends unasked."""
        with self._telling:
            for process, sock in zip(self._processes, self._socks, strict=True):
                if self._stopping:
                    break
                process.start()
                sock.close()  # the worker has it by now, and alone says when it listens no more
            started = [process for process in self._processes if process.pid is not None]
            over = wait([self._told, *[process.sentinel for process in started]])
        ended = [] if self._stopping else [one for one in started if one.sentinel in over]
        for process in started:
            process.join()
        if ended:
            raise WorkerEnded(
                f"{' and '.join(map(_how_it_ended, ended))} unasked: all were stopped, see the log"
            )

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        # A signal to a worker might come while it takes none; the end of a pipe stays.
        self._telling.close()


def _how_it_ended(process: SpawnProcess) -> str:
    code = process.exitcode or 0
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"a worker of the API (process {process.pid}) ended {how}"


def _work(settings: Settings, sock: socket.socket, told: Connection) -> None:
    """Serve as one of several processes, until their parent closes its end of `told`, or ends."""
    os.setpgrp()  # Ctrl-C reaches the first process, which tells the others
    configure_logging(settings, name_request)
    app = create_app(settings=settings, name=_NAME)

    async def listen_to_parent(app: App) -> None:
        app.loop.add_reader(told.fileno(), stop)

    def stop() -> None:
        app.loop.remove_reader(told.fileno())
        app.stop(terminate=False)

    app.after_server_start(listen_to_parent)
    if not told.poll():
        _serve(app, sock)


def _serve(app: App, sock: socket.socket) -> None:
    app.before_server_start(_set_apart)  # after those of `create_app`
    app.after_server_start(_hear_signals)
    # As many connections as the system lets us have: each takes a descriptor.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    app.run(
        sock=sock,
        single_process=True,
        motd=False,
        backlog=_BACKLOG,
        protocol=BoundedProtocol,
        register_sys_signals=False,
    )


async def _hear_signals(app: App) -> None:
    """Stop at a signal, also one that comes while the loop does not run, as between its steps.

    Further ones change nothing: coreutils' `timeout` sends two, and what was taken is answered.
    """
    loop = app.loop

    def stop(_signal: int, _frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # it is over
            loop.call_soon_threadsafe(app.stop, False)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


async def _set_apart(_app: App) -> None:
    """Search for garbage no more among what there is by now, which stays.

    To look through it all took 50 ms, now and then, in which nobody was answered.
    """
    gc.collect()
    gc.freeze()


def _listen(settings: Settings) -> list[socket.socket]:
    """Return a socket for each process.

    From one that they shared, who wakes first would take all the connections that wait; over
    several the system spreads them.
    """
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    listen = partial(
        socket.create_server,
        (settings.api_host, settings.api_port),
        family=family,
        backlog=_BACKLOG,
    )
    try:
        alone = listen()
        if settings.api_workers == 1:
            return [alone]
        # A port that somebody else listens on was refused by now; to share it would not be.
        alone.close()
        return [listen(reuse_port=True) for _ in range(settings.api_workers)]
    except OSError as error:
        raise SettingsError(
            # Python names the address once more, in brackets.
            f"cannot listen on {settings.api_host}:{settings.api_port} "
            f"({str(error.strerror).partition(' (')[0]}): set TOCSIN_API_HOST and TOCSIN_API_PORT"
        ) from None
