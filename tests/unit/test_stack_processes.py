"""A process ends whole, with its children, and its last words are told."""

import math
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stack.errors import StackError
from stack.ports import free_port, is_free
from stack.processes import Process, descendants, end_with_starter, is_running
from stack.waiting import wait_until

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("ready", flush=True)
time.sleep(60)
"""

ASK_FOR_PORT = """
import sys
from stack import ports
ports.random.sample = lambda *_: [int(sys.argv[1])]
ports.free_port()
"""

BUSY = """
import hashlib, threading
for _ in range(8):
    threading.Thread(target=hashlib.pbkdf2_hmac, args=["sha256", b"", b"", 10**9]).start()
print("ready", flush=True)
"""


def test_process_that_ignores_its_signal_is_killed_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Process("stubborn", [sys.executable, "-c", STUBBORN], log=log)
    wait_until(lambda: "ready" in log.read_text(), "it starts", deadline_s=60)
    family = [process.pid, *descendants(process.pid)]
    assert len(family) == 2
    assert process.stop(grace_s=0.1) == -9
    assert not any(map(is_running, family))


def test_paused_process_stands_still_with_all_its_threads(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Process("busy", [sys.executable, "-c", BUSY], log=log)
    wait_until(lambda: "ready" in log.read_text(), "it starts", deadline_s=60)
    tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
    process.pause()
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
    process.kill()
    assert states == ["T"] * 9


def test_ended_process_tells_its_last_words(tmp_path: Path) -> None:
    process = Process("it", ["sh", "-c", "echo farewell; exit 3"], log=tmp_path / "log")
    process.popen.wait()
    with pytest.raises(StackError, match="it ended with exit code 3: farewell"):
        process.require_running()


def test_last_words_are_those_of_this_start_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of an earlier start\n")
    process = Process("it", ["sh", "-c", "echo farewell"], log=log)
    process.popen.wait()
    assert process.last_words() == f"farewell (log: {log})"
    silent = Process("it", ["true"], log=log)
    silent.popen.wait()
    assert silent.last_words() == f"it logged nothing (log: {log})"
    assert log.read_text() == "of an earlier start\nfarewell\n"


def test_last_words_are_whole_though_the_relay_is_slow(tmp_path: Path) -> None:
    ended = threading.Event()

    def wait_for_the_end(_name: str, _line: str) -> None:
        ended.wait(60)

    process = Process(
        "it",
        ["sh", "-c", "echo one; echo two"],
        log=tmp_path / "log",
        relay=wait_for_the_end,
    )
    process.popen.wait()
    ended.set()
    assert process.last_words() == f"one / two (log: {tmp_path / 'log'})"


def test_missing_command_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="can't start it: /nonexistent: No such file"):
        Process("it", ["/nonexistent"], log=tmp_path / "log")


def test_lines_are_relayed_and_logged(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []
    log = tmp_path / "log"
    process = Process(
        "it",
        ["sh", "-c", "echo one; echo two >&2"],
        log=log,
        relay=lambda *line: heard.append(line),
    )
    process.popen.wait()
    wait_until(lambda: len(heard) == 2, "both lines", deadline_s=60)
    assert heard == [("it", "one"), ("it", "two")]
    assert log.read_text() == "one\ntwo\n"


def test_command_runs_without_setpriv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert end_with_starter(["true"], "TERM") == ["true"]


def test_free_port_is_one_that_no_client_takes() -> None:
    port = free_port()
    assert is_free(port)
    assert port < 32768


def test_free_port_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing listens on it yet: neither to this process again nor to another."""
    port = free_port()
    monkeypatch.setattr("stack.ports.random.sample", lambda *_: [port])
    with pytest.raises(StackError, match="no free port"):
        free_port()
    done = subprocess.run(
        [sys.executable, "-c", ASK_FOR_PORT, str(port)], capture_output=True, text=True, check=False
    )
    assert "no free port" in done.stderr


def test_waiting_gives_up_at_the_deadline() -> None:
    with pytest.raises(StackError, match=r"the moon: not within 0\.1 s"):
        wait_until(lambda: None, "the moon", deadline_s=0.1)


def test_waiting_returns_the_first_answer() -> None:
    answers = iter([0, 0, 7])
    assert wait_until(lambda: next(answers), "seven", deadline_s=math.inf, every_s=0) == 7
