"""Where Prometheus reads the API's metrics: of all its processes, whichever is asked."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector
from sanic import HTTPResponse, Request

from tocsin.errors import SettingsError
from tocsin.settings import Settings

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def exposed(settings: Settings) -> Iterator[None]:
    """Serve the metrics, if they are to be served, on the port that is set.

    Several processes share their numbers by files in a folder of this run, which
    prometheus_client learns of by a variable of the environment when a process imports it: those
    that are started within do. Raises SettingsError when the port is taken.
    """
    if not settings.api_metrics_port:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tocsin-api-metrics-") as folder:
        if settings.api_workers > 1:
            os.environ[_FOLDER_VARIABLE] = folder
        if not is_on_the_api(settings):
            _serve(settings)
        yield


def is_on_the_api(settings: Settings) -> bool:
    """Whether the API itself answers `GET /metrics`."""
    return settings.api_metrics_port == settings.api_port


def _serve(settings: Settings) -> None:
    try:
        start_http_server(
            settings.api_metrics_port, settings.api_metrics_host, registry=_registry(settings)
        )
    except OSError as error:
        raise SettingsError(
            f"TOCSIN_API_METRICS_PORT: cannot listen on {settings.api_metrics_host}:"
            f"{settings.api_metrics_port} ({error.strerror})"
        ) from None


def _registry(settings: Settings) -> CollectorRegistry:
    if settings.api_workers == 1:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry


class Exposition:
    """Answers `GET /metrics` on the API's own port."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def get(self, _request: Request) -> HTTPResponse:
        """Answer the metrics of all processes."""
        text = await asyncio.to_thread(self._text)
        return HTTPResponse(text, content_type=CONTENT_TYPE_LATEST)

    def _text(self) -> bytes:
        return generate_latest(_registry(self._settings))
