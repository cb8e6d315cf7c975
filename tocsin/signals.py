"""Hearing SIGTERM and Ctrl-C without disturbing what runs.

Python runs a signal's handler between any two steps of the main thread. What the handler raises can
come out in the middle of a library that is not made for it, and a lock that the main thread holds
just then is never let go. So a signal is heard in a thread of its own, and the main thread looks.
"""

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Final, TypeVar

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LOOKS_EVERY_S: Final = 0.05

T = TypeVar("T")


@contextmanager
def heard(tell: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Have SIGTERM and SIGINT told to a function, in another thread, while the block runs."""

    def handle(number: int, _frame: object) -> None:
        # threading.Thread would wait for locks, which the main thread may hold.
        _thread.start_new_thread(tell, (signal.Signals(number),))

    former = [signal.signal(one, handle) for one in _SIGNALS]
    try:
        yield
    finally:
        for one, previous in zip(_SIGNALS, former, strict=True):
            signal.signal(one, previous)


def unless_stopped(work: Callable[[], T], stopping: threading.Event) -> T:
    """Return what comes of work that may take long; raise KeyboardInterrupt once it is stopped.

    The work goes on in a thread of its own until then, and its caller waits no longer for it.
    """
    outcome: Future[T] = Future()
    threading.Thread(target=_carry_out, args=(work, outcome), daemon=True).start()
    # With a bound: some libraries let the kernel go on with what a signal has interrupted.
    while not wait([outcome], timeout=_LOOKS_EVERY_S).done:
        if stopping.is_set():
            raise KeyboardInterrupt
    return outcome.result()


def _carry_out(work: Callable[[], T], outcome: "Future[T]") -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:  # noqa: BLE001  (the edge of a thread: raised in its caller's)
        outcome.set_exception(error)
