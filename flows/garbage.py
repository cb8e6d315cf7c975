"""Python's search for cycles of garbage, as it suits work in batches."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CONTAINERS: Final = 20_000


@contextmanager
def searched_for_seldom() -> Iterator[None]:
    """Look for garbage once in 20,000 new containers rather than in 700.

    The objects of a batch live until it is stored and are freed without a search; looking at all of
    them again and again took a seventh of a backtest's processor time.
    """
    before = gc.get_threshold()
    gc.set_threshold(_CONTAINERS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
