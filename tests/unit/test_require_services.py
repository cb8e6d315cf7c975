"""A skip says why; where the services are required, it is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack.commands import CHECKOUT
from tests.conftest import NOT_ASKED_FOR

SKIPPED_TEST = """
import pytest
def test_it():
    pytest.skip("no server here")
"""
SKIPPED_MODULE = """
import pytest
pytest.skip("no server here", allow_module_level=True)
"""
SKIPPED_FOR_KAFKA = f"""
import pytest
def test_it():
    pytest.skip("no Java here {NOT_ASKED_FOR}")
"""
EXPECTED_FAILURE = """
import pytest
@pytest.mark.xfail(reason="known")
def test_it():
    raise ValueError
"""


def run_pytest(folder: Path, require_services: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(SKIPPED_TEST)
    (folder / "test_module.py").write_text(SKIPPED_MODULE)
    (folder / "test_known.py").write_text(EXPECTED_FAILURE)
    return run_pytest_in(folder, require_services)


def run_pytest_in(
    folder: Path, require_services: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    options = ["-p", "tests.conftest", "-rs", "--continue-on-collection-errors"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, folder],
        cwd=CHECKOUT,
        env={**os.environ, "REQUIRE_SERVICES": require_services, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_required_services_allow_no_skip(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "1")
    assert done.returncode != 0
    assert done.stdout.count("no server here (REQUIRE_SERVICES=1 allows no skip)") >= 2
    assert "skipped" not in done.stdout.splitlines()[-1]


def test_skip_says_why(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "0")
    assert done.returncode == 0
    assert "no server here" in done.stdout
    assert "2 skipped, 1 xfailed" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("require_services", ["0", "1"])
def test_want_of_a_broker_that_was_not_asked_for_is_a_skip(
    tmp_path: Path, require_services: str
) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPED_FOR_KAFKA)
    done = run_pytest_in(tmp_path, require_services)
    assert done.returncode == 0
    assert "no Java here" in done.stdout
    assert "1 skipped" in done.stdout.splitlines()[-1]


def test_unknown_broker_is_refused_in_one_line_before_any_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPED_TEST)
    done = run_pytest_in(tmp_path, "1", BROKER="redpanda")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    said = "ERROR: BROKER=redpanda: the broker is light (the default) or kafka"
    assert done.stderr.strip() == said
