"""What a person sees of make when something is missing, and what it lists and cleans."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stack import cache
from stack.commands import CHECKOUT
from stack.processes import Process, is_running


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=CHECKOUT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_make_help_lists_every_target() -> None:
    made = (CHECKOUT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+(?:-[a-z]+)*):", made, re.MULTILINE))
    helped = run("make", "help").stdout
    listed = re.findall(r"^( +make ([a-z-]+) +)\S", helped, re.MULTILINE)
    assert {target for _, target in listed} == targets
    assert len({len(column) for column, _ in listed}) == 1, helped


def test_ci_calls_only_what_a_person_runs() -> None:
    commands = re.findall(r"^make \w+", (CHECKOUT / ".ci/run").read_text(), re.MULTILINE)
    assert commands == ["make check", "make test"]


@pytest.fixture
def bare_checkout(tmp_path: Path) -> Path:
    """A checkout with no more than what makes its virtual environment."""
    checkout = tmp_path / "checkout"
    (checkout / "stack").mkdir(parents=True)
    shutil.copy(CHECKOUT / "Makefile", checkout)
    for script in ("bootstrap", "require-root"):
        shutil.copy(CHECKOUT / "stack" / script, checkout / "stack")
    (checkout / "pyproject.toml").touch()
    (checkout / "requirements.txt").touch()
    return checkout


def program(folder: Path, name: str, script: str) -> Path:
    """Write a shell script that stands in for a program."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_missing_python_gets_one_clear_line(bare_checkout: Path) -> None:
    done = run(str(bare_checkout / "stack/bootstrap"), "run", PYTHON="/nonexistent/python3.11")
    assert done.returncode == 1
    assert (
        done.stderr == "error: PYTHON=/nonexistent/python3.11: there is no such file or command\n"
    )


def test_wrong_python_gets_one_clear_line(bare_checkout: Path, tmp_path: Path) -> None:
    old = program(tmp_path / "bin", "python3.9", "exit 1")
    done = run(str(bare_checkout / "stack/bootstrap"), "run", PYTHON=str(old))
    assert done.returncode == 1
    assert done.stderr == f"error: PYTHON={old} is not Python 3.10, 3.11 or 3.12\n"


VERBOSE_PYTHON = """
import os, signal, sys, tempfile
if sys.argv[1] == "-m":
    tempfile.mkstemp()
    with open(os.environ["STARTED"], "w") as started:
        started.write("venv")
    signal.pause()  # an installation that takes long; the test interrupts it
"""


def test_interrupted_bootstrap_says_so_and_leaves_nothing(
    bare_checkout: Path, tmp_path: Path
) -> None:
    temporary, started = tmp_path / "tmp", tmp_path / "started"
    temporary.mkdir()
    os.mkfifo(started)
    (tmp_path / "python.py").write_text(VERBOSE_PYTHON)
    python = program(
        tmp_path / "bin", "python3", f'exec {sys.executable} {tmp_path / "python.py"} "$@"'
    )
    environment = {"PYTHON": str(python), "STARTED": str(started), "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [bare_checkout / "stack/bootstrap", "run"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as bootstrap:
        assert started.read_text() == "venv"
        os.killpg(bootstrap.pid, signal.SIGINT)
        _, said = bootstrap.communicate(timeout=30)
    assert said == "setup | stopped\n"
    assert bootstrap.returncode == 130
    assert list(temporary.iterdir()) == []
    assert not (bare_checkout / ".venv").exists()


SLOW_PYTHON = """
import os, sys
if sys.argv[1] == "-m":
    with open(os.environ["RELEASED"]) as released:
        released.read()
    sys.exit("no room")
"""


def test_bootstrap_that_takes_its_time_says_that_it_goes_on(
    bare_checkout: Path, tmp_path: Path
) -> None:
    released = tmp_path / "released"
    os.mkfifo(released)
    (tmp_path / "python.py").write_text(SLOW_PYTHON)
    python = program(
        tmp_path / "bin", "python3", f'exec {sys.executable} {tmp_path / "python.py"} "$@"'
    )
    with subprocess.Popen(
        [bare_checkout / "stack/bootstrap", "run"],
        env={**os.environ, "PYTHON": str(python), "RELEASED": str(released), "TICK_S": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as bootstrap:
        assert bootstrap.stdout is not None
        assert bootstrap.stdout.readline().startswith("setup | making .venv")
        assert re.fullmatch(r"setup \| \d+ s so far\n", bootstrap.stdout.readline())
        released.write_text("go on")
        _, said = bootstrap.communicate(timeout=30)
    assert bootstrap.returncode == 1
    assert said.startswith("no room\nerror: ")


def test_command_that_takes_its_time_says_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "SIGN_OF_LIFE_S", 0.05)
    cache.cache_folder().mkdir()
    released = tmp_path / "released"
    os.mkfifo(released)
    told: list[str] = []

    def say(line: str) -> None:
        if not told:
            released.write_text("go on")
        told.append(line)

    cache.run_whole(["cat", str(released)], "laying out", complaint="", advice="", say=say)
    assert re.fullmatch(r"laying out: \d+ s so far", told[0])


def test_command_that_is_interrupted_while_it_starts_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Process] = []

    def start(*words: Any, **how: Any) -> Process:
        started.append(Process(*words, **how))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "Process", start)
    cache.cache_folder().mkdir()
    with pytest.raises(KeyboardInterrupt):
        cache.run_whole(["sleep", "60"], "laying out", complaint="", advice="")
    assert not is_running(started[0].pid)
    assert list(cache.cache_folder().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "environment", "refused"),
    [
        ("demo", {"DATABASE_URL": "postgresql://elsewhere"}, True),
        ("up", {}, True),
        ("up", {"DATABASE_URL": "postgresql://elsewhere"}, False),
        ("test", {}, True),
        ("test -k late_record", {}, True),
        ("test tests/unit tests/integration", {}, True),
        ("test tests/unit/test_stack_cli.py -x", {}, False),
        ("test tests/acceptance", {"TESTED_URL": "http://elsewhere"}, False),
        ("test tests/acceptance", {"TOCSIN_URL": "http://printed-by-make-up"}, True),
    ],
)
def test_target_that_needs_root_is_refused_without(
    bare_checkout: Path, tmp_path: Path, words: str, environment: dict[str, str], refused: bool
) -> None:
    program(tmp_path / "bin", "id", "echo 1000")
    target, *arguments = words.split()
    none = dict.fromkeys(("DATABASE_URL", "TESTED_URL"), "")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    make = ("make", "-C", str(bare_checkout), target, f"ARGS={' '.join(arguments)}")
    done = run(*make, **{**none, **environment, "PATH": path, "PYTHON": "/nonexistent"})
    first_line = done.stderr.splitlines()[0]
    assert first_line.startswith(f"error: make {target} needs root") == refused
    assert first_line.startswith("error: PYTHON=/nonexistent") != refused
    assert ("DATABASE_URL" in first_line) == (refused and target == "up")


def test_ports_are_documented() -> None:
    for text in (run("make", "help").stdout, (CHECKOUT / "CONTRIBUTING.md").read_text()):
        for variable in ("STACK_DATABASE_PORT", "STACK_BROKER_PORT", "TOCSIN_API_PORT"):
            assert variable in text


def test_clean_leaves_what_git_keeps_and_nothing_else(bare_checkout: Path) -> None:
    kept = {path for path in bare_checkout.rglob("*") if path.is_file()}
    for name in (".venv/bin/python", "stack/__pycache__/x.pyc", "bench/results/x.json"):
        (bare_checkout / name).parent.mkdir(parents=True)
        (bare_checkout / name).touch()
    (bare_checkout / ".tocsin").mkdir()
    done = run("make", "-C", str(bare_checkout), "clean")
    assert done.returncode == 0
    assert "clean | deleting" in done.stdout
    assert {path for path in bare_checkout.rglob("*") if path.is_file()} == kept
    assert not (bare_checkout / ".tocsin").exists()
