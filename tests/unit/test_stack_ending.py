"""An interruption ends what was begun, whole, and says one line."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stack.commands import CHECKOUT
from stack.processes import is_running

SLOW_DEMO = """
import sys, time
from contextlib import contextmanager
from rich.console import Console
from stack import demo

@contextmanager
def slow_to_clean_up(**_):
    try:
        yield
    finally:
        print("cleaning up", flush=True)
        sys.stdin.readline()
        print("cleaned up", flush=True)

def play(*_):
    print("playing", flush=True)
    {play}

demo.temporary, demo._play = slow_to_clean_up, play
demo.demo(Console())
"""
LAY_OUT = """
import os, sys
os.geteuid = lambda: 0
from stack import cli, debian
cli.up = debian.lay_out
from stack.ending import raise_ended_at_signals
raise_ended_at_signals()
cli.main(["up"])
"""
MMDEBSTRAP = """#!/bin/sh
mktemp
echo $$ >"$STARTED"
exec sleep 60
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python with pipes; it is killed at the end."""
    with ExitStack() as cleanup:

        def start_python(script: str, **environment: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [sys.executable, "-c", script],
                cwd=CHECKOUT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            cleanup.enter_context(process)
            cleanup.callback(process.kill)
            return process

        yield start_python


def read_until(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout
    assert any(read == f"{line}\n" for read in iter(process.stdout.readline, "")), line


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_second_interruption_does_not_cut_the_demo_short_of_its_clean_up(
    start: Start, first: signal.Signals
) -> None:
    process = start(SLOW_DEMO.format(play="time.sleep(60)"))
    read_until(process, "playing")
    process.send_signal(first)
    read_until(process, "cleaning up")
    for second in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(second)
    said, complaints = process.communicate("\n", timeout=30)
    assert (said, complaints) == ("cleaned up\nstopped\n", "")
    assert process.returncode == 130


def test_interruption_after_the_demo_does_not_cut_its_clean_up_short(start: Start) -> None:
    process = start(SLOW_DEMO.format(play=""))
    read_until(process, "cleaning up")
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate("\n", timeout=30)
    assert (said, complaints) == ("cleaned up\n", "")
    assert process.returncode == 0


def test_interrupted_layout_leaves_neither_a_file_nor_a_process(
    start: Start, tmp_path: Path
) -> None:
    cache, temporary, started = tmp_path / "cache", tmp_path / "tmp", tmp_path / "started"
    temporary.mkdir()
    os.mkfifo(started)
    mmdebstrap = tmp_path / "bin/mmdebstrap"
    mmdebstrap.parent.mkdir()
    mmdebstrap.write_text(MMDEBSTRAP)
    mmdebstrap.chmod(0o755)
    process = start(
        LAY_OUT,
        PATH=f"{mmdebstrap.parent}{os.pathsep}{os.environ['PATH']}",
        XDG_CACHE_HOME=str(cache),
        TMPDIR=str(temporary),
        STARTED=str(started),
    )
    pid = int(started.read_text())
    assert [path.name for path in cache.rglob("tmp.*")]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert not is_running(pid)
    assert list(temporary.iterdir()) == []
    assert [path.name for path in (cache / "tocsin").iterdir()] == ["debian.lock"]


def test_stack_interrupted_says_one_line(start: Start, tmp_path: Path) -> None:
    script = "import runpy, os, signal; from stack import cli\n"
    script += "cli.main = lambda argv: os.kill(os.getpid(), signal.SIGINT)\n"
    script += "runpy.run_module('stack', run_name='__main__')"
    process = start(script, STACK_STATE_DIR=str(tmp_path / "none"))
    assert process.communicate(timeout=30) == ("", "stopped\n")
    assert process.returncode == 130
