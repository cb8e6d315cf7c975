"""Tocsin, whose workers take no signal: `python -m tests.integration.http.deaf api`."""

import signal
from unittest.mock import patch

from api import serve
from api.app import App
from tocsin.cli import main


async def take_none(app: App) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    main()
else:  # the main module of a worker
    patch.object(serve, "_hear_signals", take_none).start()
