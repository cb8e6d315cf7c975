"""The end on request: the first Ctrl-C is raised, the next can't disturb the clean-up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asked this process to end."""


def raise_ended_at_signals() -> None:
    """Raise Ended at the first signal, from now until the end of the process."""
    for number in _SIGNALS:
        signal.signal(number, _end)


@contextmanager
def undisturbed_afterwards() -> Iterator[None]:
    """Ignore signals once the block has ended, however it ended: what follows is cleaning up."""
    try:
        yield
    finally:
        _ignore_signals()


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    _ignore_signals()
    raise Ended


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
