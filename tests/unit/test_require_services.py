"""A skip says why; where the services are required, it is a failure."""

import os
import subprocess
import sys
from pathlib import Path

from stack.running import CHECKOUT

SKIPPED_TEST = """
import pytest
def test_it():
    pytest.skip("no server here")
"""
SKIPPED_MODULE = """
import pytest
pytest.skip("no server here", allow_module_level=True)
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
    options = ["-p", "tests.conftest", "-rs", "--continue-on-collection-errors"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, folder],
        cwd=CHECKOUT,
        env={**os.environ, "REQUIRE_SERVICES": require_services},
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
