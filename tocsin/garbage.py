"""Python's search for cycles of garbage, as it suits batches and requests."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CONTAINERS: Final = 20_000


@contextmanager
def searched_for_seldom() -> Iterator[None]:
    """Look for garbage once in 20,000 new containers rather than in 700.

    The objects of a batch live until it is stored, those of a request until it is answered, and are
    freed without a search; looking at all of them again and again took a seventh of a backtest's
    processor time, and a thirtieth of the API's.
    """
    before = gc.get_threshold()
    gc.set_threshold(_CONTAINERS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
