"""The cache folder: what is made once per machine, by one process at a time, whole or not."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stack.ending import held_back
from stack.errors import StackError
from stack.processes import Process, end_with_starter

Say = Callable[[str], None]

SIGN_OF_LIFE_S = 15.0
"""So long at most a command says nothing that takes its time."""

_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def silent(_line: str) -> None:
    """Say nothing."""


def cache_folder() -> Path:
    """Where what is made once per machine is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tocsin"


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of this name, waiting for whoever has it."""
    path = cache_folder() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_whole(
    argv: Sequence[str],
    what: str,
    *,
    complaint: str,
    advice: str,
    say: Say = silent,
    **environment: str,
) -> None:
    """Run a command to its end; end it with its children when this process is interrupted.

    say: is told now and then how long it has taken so far.
    complaint: how a line of its output begins that says why it failed.
    Raises StackError with the first complaint and the advice.
    """
    env = {**os.environ, "LC_ALL": "C.UTF-8", **environment}
    log = cache_folder() / f"output-{os.getpid()}.log"
    process: Process | None = None
    try:
        with held_back():  # else it might have been started, and nobody would know it
            process = Process(what, end_with_starter(argv, "TERM"), log=log, env=env)
        code = _exit_code(process, what, say)
        words = _COLOR.sub("", log.read_text(errors="replace")).splitlines()
    except BaseException:
        if process is not None:
            # To all of the group, as a terminal does: mmdebstrap leaves the signal to its children.
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGINT)
                process.popen.wait(20)
            process.kill()
        raise
    finally:
        log.unlink(missing_ok=True)
    if code:
        told = [line for line in words if line.startswith(complaint)]
        why = (told or words or ["no word why"])[0]
        raise StackError(f"{what} failed: {why} ({advice})")


def _exit_code(process: Process, what: str, say: Say) -> int:
    began = time.monotonic()
    while True:
        try:
            return process.popen.wait(SIGN_OF_LIFE_S)
        except subprocess.TimeoutExpired:
            say(f"{what}: {time.monotonic() - began:.0f} s so far")
