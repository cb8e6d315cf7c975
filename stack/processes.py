"""A child process that never outlives its starter and takes its own children along."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from stack.errors import StackError
from stack.waiting import wait_until

Relay = Callable[[str, str], None]
_RELAY_END_S = 2
"""A child that outlives an ended process keeps its output open: who tells of it waits no longer."""


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie that nobody has reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _stands_still(pid: int) -> bool:
    """Whether no thread of the process runs any more."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            if stat.read_text().rpartition(")")[2].split()[0] not in "TZX":
                return False
    return True


def descendants(pid: int) -> list[int]:
    """Return the pids of all children, theirs included, in no special order."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def end_with_starter(argv: Sequence[str], signal_name: str) -> list[str]:
    """Return a command whose process gets the signal when its starter dies, even by SIGKILL.

    The kernel watches the thread that starts the process: start from one that lives on.
    """
    if not shutil.which("setpriv"):
        return list(argv)
    return ["setpriv", "--pdeathsig", signal_name, "--", *argv]


def marked_processes(variable: str, value: str) -> list[int]:
    """Return the pids of all processes whose environment has the variable with this value."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{variable}={value}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


class Process:
    """A running command in a session of its own, its output in a log file.

    relay: is also given the name and each line, from a thread of its own.
    stop_signal: what asks the command to end cleanly.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        relay: Relay | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self.stop_signal = stop_signal
        self._relaying: threading.Thread | None = None
        with log.open("ab") as output:
            self._log_began = output.tell()
            try:
                self.popen = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if relay else output,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"can't start {name}: {argv[0]}: {error.strerror}") from error
        if relay and self.popen.stdout:
            self._relaying = threading.Thread(
                target=self._relay, args=[self.popen.stdout, relay], daemon=True
            )
            self._relaying.start()

    def _relay(self, lines: IO[bytes], relay: Relay) -> None:
        with lines, self.log.open("ab", buffering=0) as log:
            for line in lines:
                log.write(line)
                relay(self.name, line.decode(errors="replace").rstrip("\n"))

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self.popen.pid

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self.popen.poll()

    def require_running(self) -> None:
        """Raise StackError with the last line of the log when the process has ended."""
        code = self.exit_code()
        if code is not None:
            raise StackError(f"{self.name} ended with exit code {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last lines that the process logged, as one line, but for Java's traces.

        What a start before this one logged to the same file is not among them.
        """
        if self._relaying:
            self._relaying.join(_RELAY_END_S)
        with self.log.open("rb") as log:
            log.seek(self._log_began)
            lines = log.read().decode(errors="replace").split("\n")
        told = [line.strip() for line in lines if line.strip() and not line.startswith("\tat ")]
        return f"{' / '.join(told[-2:]) or 'it logged nothing'} (log: {self.log})"

    def pause(self) -> None:
        """Let it stand still by SIGSTOP: its connections stay, nothing is answered.

        On a busy machine a thread may go on for a while after the signal: this waits for all.
        """
        self.popen.send_signal(signal.SIGSTOP)
        wait_until(lambda: _stands_still(self.pid), f"the pause of {self.name}", deadline_s=10)

    def resume(self) -> None:
        """Let it go on after a pause."""
        self.popen.send_signal(signal.SIGCONT)

    def stop(self, *, grace_s: float = 20) -> int:
        """Ask the process to end, wait, kill what is left of its group; return the exit code."""
        if self.exit_code() is None:
            self.popen.send_signal(self.stop_signal)
            self.resume()  # a paused one would never hear it
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(grace_s)
        return self.kill()

    def kill(self) -> int:
        """End the process and all its descendants by SIGKILL; return the exit code."""
        family = [self.pid, *descendants(self.pid)]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        # PostgreSQL's backends lead sessions of their own, which the group's signal misses.
        for pid in family[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = self.popen.wait()
        wait_until(
            lambda: not any(map(is_running, family)), f"the end of {self.name}", deadline_s=10
        )
        return code
