"""Every command of docs/dead-letters.md does what the page says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import Line
from tests.integration.letters import put_aside, wire

PAGE = (Path(__file__).parents[2] / "docs/dead-letters.md").read_text()


def examples(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return found


def test_every_command_of_the_page_works(line: Line, tmp_path: Path) -> None:
    put_aside(line, wire(), wire(level="LOUD"), b"\xff", wire())
    python = f"{shlex.quote(sys.executable)} -m tocsin"
    script = "\n".join(examples("sh"))
    assert len(re.findall(r"^tocsin ", script, re.MULTILINE)) == 11
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'tocsin() {{ {python} "$@"; }}\n{script}'],
        cwd=tmp_path,
        env={**os.environ, **line.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    sent = line.query('SELECT "offset" FROM dead_letters WHERE redriven_at IS NOT NULL ORDER BY 1')
    assert sent == [(0,), (1,), (3,)]
    for query in examples("sql"):
        [(reason, count, _)] = line.query(query)
        assert (reason, count) == ("level: unknown level 'LOUD'", 1)
