"""The only place that waits: polls a condition until a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from stack.errors import StackError

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], what: str, *, deadline_s: float, every_s: float = 0.05
) -> T:
    """Return the first truthy answer of the condition.

    `what` completes the sentence of the StackError raised at the deadline: "… within 10 s".
    An exception from the condition passes through: raise to give up early.
    """
    end = time.monotonic() + deadline_s
    while not (answer := condition()):
        if time.monotonic() >= end:
            raise StackError(f"{what}: not within {deadline_s:g} s")
        time.sleep(every_s)
    return answer
