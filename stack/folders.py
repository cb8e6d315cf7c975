"""Named folders in the Debian root, each locked by the one process that uses it.

A database cluster lives in one; so does what a program run by chroot reads and writes.
"""

import contextlib
import fcntl
import os
import shutil
import signal
from pathlib import Path
from typing import IO

from stack import debian
from stack.processes import descendants, is_running
from stack.waiting import wait_until

HOME = "/var/lib/tocsin"
"""Where the folders are, as seen in the root."""


def folder(name: str) -> Path:
    """Return where a folder is as this machine sees it."""
    return debian.root_folder() / HOME[1:] / name


def try_lock(name: str) -> IO[str] | None:
    """Lock a name until the file is closed; None when a living process has it."""
    lock = folder(f"{name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def remove(name: str) -> bool:
    """Delete a folder, ending a database server that outlived its starter.

    Returns False, and touches nothing, when a living process has the name locked.
    """
    if not folder(name).exists() and not folder(f"{name}.lock").exists():
        return True
    lock = try_lock(name)
    if lock is None:
        return False
    with lock:
        if pid := live_postmaster(folder(name) / "pgdata"):
            end_postmaster(pid)
        shutil.rmtree(folder(name), ignore_errors=True)
        folder(f"{name}.lock").unlink(missing_ok=True)
    return True


def sweep(prefix: str) -> None:
    """Delete the folders of this prefix whose owners have died."""
    for found in folder("").glob(f"{prefix}*/"):
        remove(found.name)


def live_postmaster(data_directory: Path) -> int | None:
    """Return the pid of the server that runs on this data directory, if one does."""
    try:
        pid = int((data_directory / "postmaster.pid").read_text().split()[0])
        # A postmaster's working directory is its data directory.
        runs_here = Path(f"/proc/{pid}/cwd").samefile(data_directory)
    except (OSError, ValueError, IndexError):
        return None
    return pid if runs_here and is_running(pid) else None


def end_postmaster(pid: int) -> None:
    """Shut down a server that this process didn't start."""
    family = [pid, *descendants(pid)]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    wait_until(
        lambda: not any(map(is_running, family)), f"the end of PostgreSQL {pid}", deadline_s=30
    )
