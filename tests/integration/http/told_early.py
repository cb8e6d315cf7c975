"""Tocsin, told to end at the worst moment: `python -m tests.integration.http.told_early api`."""

import os
import signal
from typing import Any
from unittest.mock import patch

from api import serve
from api.app import App, create_app
from tocsin.cli import main


def create_app_that_is_told(**arguments: Any) -> App:
    """Have the API told to end when it has its handlers of signals, but does not run yet."""
    app = create_app(**arguments)

    async def tell(_app: App) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    app.after_server_start(tell)
    return app


if __name__ == "__main__":
    with patch.object(serve, "create_app", create_app_that_is_told):
        main()
