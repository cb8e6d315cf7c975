"""What a person sees of make and the stack when something is missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stack import debian
from stack.errors import StackError
from stack.running import CHECKOUT, Ports


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
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    listed = re.findall(r"^ +make ([a-z]+) +\S", run("make", "help").stdout, re.MULTILINE)
    assert set(listed) == targets


def test_ci_calls_only_what_a_person_runs() -> None:
    commands = re.findall(r"^make \w+", (CHECKOUT / ".ci/run").read_text(), re.MULTILINE)
    assert commands == ["make check", "make test"]


def test_wrong_python_gets_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    script = tmp_path / "stack/bootstrap"
    script.write_text((CHECKOUT / "stack/bootstrap").read_text())
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements.txt").touch()
    done = run("sh", str(script), "run", PYTHON="/nonexistent/python3.9")
    assert done.returncode == 1
    assert done.stderr == "error: PYTHON=/nonexistent/python3.9 is not Python 3.10, 3.11 or 3.12\n"


def test_unknown_command_shows_the_usage() -> None:
    done = run(sys.executable, "-m", "stack", "sideways")
    assert done.returncode == 2
    assert "usage" in done.stdout


def test_port_that_is_no_number_gets_one_clear_line(tmp_path: Path) -> None:
    done = run(
        sys.executable, "-m", "stack", "up", STACK_STATE_DIR=str(tmp_path), STACK_BROKER_PORT="nine"
    )
    assert done.returncode == 1
    assert done.stderr == "error: STACK_BROKER_PORT=nine: a port is a number from 1 to 65535\n"


def test_down_without_a_stack_has_nothing_to_do(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "stack", "down", STACK_STATE_DIR=str(tmp_path / "none"))
    assert done.returncode == 0
    assert "nothing to clean up" in done.stdout


def test_ports_are_the_expected_ones_unless_named() -> None:
    assert Ports.fixed({}) == Ports(database=5432, broker=9092, api=8000)
    assert Ports.fixed({"TOCSIN_API_PORT": "8001", "STACK_DATABASE_PORT": ""}).api == 8001


def test_without_root_rights_the_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StackError, match="needs root") as refusal:
        debian.lay_out()
    assert "\n" not in str(refusal.value)


def test_half_made_root_is_not_taken_for_a_root(tmp_path: Path) -> None:
    server = tmp_path / debian.BIN[1:] / "postgres"
    server.parent.mkdir(parents=True)
    server.touch()
    assert not debian.is_complete(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/tocsin-complete").touch()
    assert debian.is_complete(tmp_path)
    server.unlink()
    assert not debian.is_complete(tmp_path)
