"""Password hashes: bcrypt, off the event loop, and as slow for a stranger as for a friend."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

from api.problems import Refusal, unavailable

CHARACTERS_MIN = 8
BYTES_MAX = 72
"""bcrypt sees no more than this; longer passwords are refused instead of silently cut."""
_ROUNDS = 12
_THREADS = 2
_WAITING_MAX = 50

Detail = TypeVar("Detail")
Result = TypeVar("Result")


class Passwords:
    """Hashes and checks passwords in threads of its own; a long queue is refused (503)."""

    def __init__(self, rounds: int = _ROUNDS) -> None:
        self._rounds = rounds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bcrypt")
        self._waiting = 0
        # Stands in for the hash of a user that does not exist.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(rounds)).decode()

    async def hash(self, password: str) -> str:
        """Return the hash of a new password. Refuses (400) one that is too short or too long."""
        if fault := password_fault(password):
            raise Refusal(400, f"password: {fault}")
        return await self._in_thread(_hash, password, self._rounds)

    async def matches(self, password: str, known: str | None) -> bool:
        """Whether the password has this hash; None, for an unknown user, takes as long."""
        same = await self._in_thread(_matches, password, known or self._nobody)
        return same and known is not None

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(
        self, work: Callable[[str, Detail], Result], password: str, detail: Detail
    ) -> Result:
        if self._waiting >= _WAITING_MAX:
            raise unavailable("too many logins at once")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, work, password, detail)
        finally:
            self._waiting -= 1


def password_fault(password: str) -> str | None:
    """Return what is wrong with a password, or None."""
    if "\0" in password:
        # To bcrypt a password goes on with a NUL and itself: `a\0a` would be the same as `a`.
        return "holds a NUL character"
    if len(password) < CHARACTERS_MIN:
        return f"at least {CHARACTERS_MIN} characters are needed"
    if len(password.encode()) > BYTES_MAX:
        return f"at most {BYTES_MAX} bytes (UTF-8) are taken"
    return None


def hash_password(password: str) -> str:
    """Hash a new password here and now, for the command line."""
    return _hash(password, _ROUNDS)


def _hash(password: str, rounds: int) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


def _matches(password: str, known: str) -> bool:
    # No stored hash is of a longer one, or one with NUL: the comparison only has to take its time.
    return bcrypt.checkpw(password.encode()[:BYTES_MAX], known.encode()) and (
        len(password.encode()) <= BYTES_MAX and "\0" not in password
    )
