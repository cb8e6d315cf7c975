"""The end on request: the first Ctrl-C is raised, the next can't disturb the clean-up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
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


@contextmanager
def held_back() -> Iterator[None]:
    """Have a signal that comes in the block raise what it raises when the block has ended."""
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    # What raises nothing stays as it is; another thread than the main one is never disturbed.
    raising = {number: handler for number, handler in handlers.items() if callable(handler)}
    if current_thread() is not main_thread():
        raising = {}
    try:
        for number in raising:
            signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number, handler in raising.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    _ignore_signals()
    raise Ended


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
