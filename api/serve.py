"""Running the API: what is checked before it boots, and how many processes serve it."""

import socket
from contextlib import closing
from functools import partial

import structlog
from sanic import Sanic
from sanic.worker.loader import AppLoader

from api.app import App, create_app
from sql.connect import connect
from sql.migrate import require_current
from tocsin.errors import SettingsError
from tocsin.settings import Settings, require_jwt_secret

_NAME = "tocsin"

log = structlog.get_logger("api")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted.

    Raises, before anything is served: SettingsError (secret, port), StorageError and
    SchemaOutdated. A broker that is away stops nobody from reading: `/readyz` and the log tell.
    """
    require_jwt_secret(settings)
    with connect(settings.database_url, name="api") as conn:
        require_current(conn)
    _require_free_port(settings)
    log.info("listening", url=f"http://{settings.api_host}:{settings.api_port}")
    if settings.api_workers == 1:
        _serve_alone(settings)
    else:
        _serve_with_workers(settings)


def create_worker_app(*, settings: Settings) -> App:
    """Return the application of one of several processes; each configures its own log."""
    from tocsin.log import configure_logging  # noqa: PLC0415

    configure_logging(settings)
    return create_app(settings=settings, name=_NAME)


def _serve_alone(settings: Settings) -> None:
    app = create_app(settings=settings, name=_NAME)
    app.run(settings.api_host, settings.api_port, single_process=True, motd=False)


def _serve_with_workers(settings: Settings) -> None:
    loader = AppLoader(factory=partial(create_worker_app, settings=settings))
    app = loader.load()
    app.prepare(settings.api_host, settings.api_port, workers=settings.api_workers, motd=False)
    Sanic.serve(primary=app, app_loader=loader)


def _require_free_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        # As the server will: a port in TIME_WAIT is free, one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.api_host, settings.api_port))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {settings.api_host}:{settings.api_port} ({error.strerror}): "
                "set TOCSIN_API_HOST and TOCSIN_API_PORT"
            ) from None
