"""The cache folder: what is made once per machine, by one process at a time, whole or not."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stack.errors import StackError
from stack.processes import Process, end_with_starter

Say = Callable[[str], None]

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
    argv: Sequence[str], what: str, *, complaint: str, advice: str, **environment: str
) -> None:
    """Run a command to its end; end it with its children when this process is interrupted.

    complaint: how a line of its output begins that says why it failed.
    Raises StackError with the first complaint and the advice.
    """
    env = {**os.environ, "LC_ALL": "C.UTF-8", **environment}
    log = cache_folder() / f"output-{os.getpid()}.log"
    process = Process(what, end_with_starter(argv, "TERM"), log=log, env=env)
    try:
        code = process.popen.wait()
        words = _COLOR.sub("", log.read_text(errors="replace")).splitlines()
    except BaseException:
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
