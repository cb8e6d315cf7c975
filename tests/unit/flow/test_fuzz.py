"""Whatever bytes come, the parser takes them or refuses them with a reason; nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from tests.unit.outcome import require_one_outcome
from tests.unit.wires import NOW, WIRES

RUNS = 50_000


@given(WIRES)
@example(b'{"a":' * 5000)
@settings(max_examples=1000)
def test_any_bytes_become_a_record_or_a_dead_letter(raw: bytes) -> None:
    require_one_outcome(raw)


def test_bytes_that_lead_into_every_branch_become_a_record_or_a_dead_letter(
    tmp_path: Path,
) -> None:
    """Atheris, which installs on Linux on x86-64, keeps and mutates what covers something new."""
    pytest.importorskip("atheris")
    record = {
        "timestamp": NOW.isoformat(),
        "service_id": "a",
        "level": "INFO",
        "message": "m",
        "metadata": {"n": [1.5, "\0"]},
        "id": "a",
    }
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "record").write_text(json.dumps(record))
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.unit.flow.guided",
            f"-runs={RUNS}",
            f"-artifact_prefix={tmp_path}/",
            seeds,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stderr}\n{sorted(tmp_path.glob('crash-*'))}"
    assert f"Done {RUNS} runs" in ended.stderr
