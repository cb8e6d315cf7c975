"""What `python -m bench` says of a scenario that it does not have."""

import subprocess
import sys

import pytest

from stack.commands import CHECKOUT


@pytest.mark.parametrize(
    ("name", "hint"),
    [("http-singel", "did you mean http-single?"), ("zzz", "`python -m bench -h` lists them")],
)
def test_unknown_scenario_is_told_with_a_hint(name: str, hint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", name],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    last_line = done.stderr.splitlines()[-1]
    assert last_line == f"python -m bench: error: no such scenario: {name}, {hint}"
