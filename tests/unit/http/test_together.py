"""Who asks for the same at once shares an answer that is no older than the question."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from api.together import Together


class Finding:
    """Finds, when it is let, which time it was asked for a key."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.news: asyncio.Queue[str] = asyncio.Queue()
        self.may_end = asyncio.Semaphore(0)

    async def find(self, key: str) -> int:
        self.begun.append(key)
        self.news.put_nowait(key)
        number = self.begun.count(key)
        await self.may_end.acquire()
        if key == "broken":
            raise ValueError(number)
        return number


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Let an event loop run a test."""
    return wraps(test)(lambda: asyncio.run(test()))


async def ask(together: Together[str, int], *keys: str) -> list[asyncio.Task[int]]:
    """Ask, and let every question be taken up."""
    asked = [asyncio.create_task(together.get(key)) for key in keys]
    for _ in range(5):
        await asyncio.sleep(0)
    return asked


@in_a_loop
async def test_who_asks_while_it_is_found_shares_the_next_answer() -> None:
    finding = Finding()
    together = Together(finding.find)
    [first] = await ask(together, "page")
    later = await ask(together, "page", "page", "page")
    assert finding.begun == ["page"]
    finding.may_end.release()
    assert await first == 1
    finding.may_end.release()
    assert await asyncio.gather(*later) == [2, 2, 2]
    assert finding.begun == ["page", "page"]


@in_a_loop
async def test_other_questions_do_not_wait() -> None:
    finding = Finding()
    asked = await ask(Together(finding.find), "one", "other")
    assert finding.begun == ["one", "other"]
    finding.may_end.release()
    finding.may_end.release()
    assert await asyncio.gather(*asked) == [1, 1]


@in_a_loop
async def test_who_goes_away_takes_nothing_from_the_others() -> None:
    finding = Finding()
    leaving, staying = await ask(Together(finding.find), "page", "page")
    leaving.cancel()
    finding.may_end.release()
    assert await staying == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving


@in_a_loop
async def test_failure_is_told_to_all_who_share_it_and_to_no_one_else() -> None:
    finding = Finding()
    together = Together(finding.find)
    sharing = await ask(together, "broken", "broken")
    later = await ask(together, "broken")
    finding.may_end.release()
    finding.may_end.release()
    told = await asyncio.gather(*sharing, *later, return_exceptions=True)
    assert [error.args for error in told if isinstance(error, ValueError)] == [(1,), (1,), (2,)]


@in_a_loop
async def test_what_hangs_holds_up_later_questions_for_a_moment_only() -> None:
    finding = Finding()
    together = Together(finding.find)
    [hanging] = await ask(together, "page")
    [later] = await ask(together, "page")
    for _ in (hanging, later):
        await asyncio.wait_for(finding.news.get(), timeout=10)
    finding.may_end.release()
    finding.may_end.release()
    assert (await hanging, await later) == (1, 2)
    [after] = await ask(together, "page")
    finding.may_end.release()
    assert await after == 3
