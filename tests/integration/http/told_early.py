"""Tocsin, told to end at the worst moment: `python -m tests.integration.http.told_early api`.

TOLD: in a "step" of its start, or "between" the last one and the loop's run for good.
"""

import os
import signal
from unittest.mock import patch

from api import serve
from api.app import App
from tocsin.cli import main

_hear_signals = serve._hear_signals
_set_serving = App.set_serving


async def hear_one_at_once(app: App) -> None:
    await _hear_signals(app)
    os.kill(os.getpid(), signal.SIGTERM)


def be_told_and_serve(app: App, serving: bool) -> None:
    if serving:
        os.kill(os.getpid(), signal.SIGTERM)
    _set_serving(app, serving)


if __name__ == "__main__":
    if os.environ["TOLD"] == "step":
        patch.object(serve, "_hear_signals", hear_one_at_once).start()
    else:
        patch.object(App, "set_serving", be_told_and_serve).start()
    main()
