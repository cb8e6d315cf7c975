"""Signals: heard beside the main thread, whatever that one is in the middle of."""

import os
import signal
import threading

import pytest

from stack.waiting import wait_until
from tocsin.signals import heard, unless_stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_heard_while_the_main_thread_holds_a_lock_that_hearing_takes(
    number: signal.Signals,
) -> None:
    lock, heard_at_all = threading.Lock(), threading.Event()
    could_take: list[tuple[signal.Signals, bool]] = []

    def tell(which: signal.Signals) -> None:
        heard_at_all.set()
        could_take.append((which, lock.acquire(timeout=60)))

    with heard(tell):
        with lock:
            os.kill(os.getpid(), number)
            assert heard_at_all.wait(60)
        wait_until(lambda: could_take, "the lock is tried", deadline_s=60)
    assert could_take == [(number, True)]


def test_handlers_are_put_back_as_they_were() -> None:
    former = signal.getsignal(signal.SIGINT)
    with heard(lambda _: None):
        assert signal.getsignal(signal.SIGINT) != former
    assert signal.getsignal(signal.SIGINT) == former


def test_work_gives_what_it_returns_and_what_it_raises() -> None:
    assert unless_stopped(lambda: 7, threading.Event()) == 7
    with pytest.raises(ZeroDivisionError):
        unless_stopped(lambda: 1 // 0, threading.Event())


def test_work_is_waited_for_no_longer_once_it_is_stopped() -> None:
    stopping, never = threading.Event(), threading.Event()
    with heard(lambda _: stopping.set()):

        def work() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            never.wait()

        try:
            with pytest.raises(KeyboardInterrupt):
                unless_stopped(work, stopping)
        finally:
            never.set()
