"""What the tests of `tocsin replay` share: records of all kinds, a target, the command."""

import os
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.integration import commands
from tests.integration.commands import run_tocsin
from tests.integration.conftest import Line
from tests.integration.topics import Kept, make_topic
from tocsin.settings import Settings

UniqueName = Callable[[str], str]


def ago_ms(minutes: int) -> int:
    return int(time.time() - 60 * minutes) * 1000


def command(line: Line, *words: str) -> subprocess.CompletedProcess[str]:
    return run_tocsin("replay", *words, **line.environ)


def sent(line: Line, *words: str) -> str:
    done = command(line, *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def failure(line: Line, *words: str) -> str:
    return commands.failure(command(line, *words))


def odd_records(first_ms: int) -> list[Kept]:
    """Four partitions whose arrivals interleave, with all that a record may be."""
    return [
        Kept(
            partition=number % 4,
            key=[b"checkout", None, b"", b"\xff\x00"][number // 4 % 4],
            value=[b"", None, b'{"timestamp": "no time"}', os.urandom(50)][number // 16 % 4],
            headers=[(), (("trace", b"\x00\xff"), ("trace", None), ("b", b""))][number % 2],
            arrival_ms=first_ms + 10 * number,
        )
        for number in range(200)
    ]


@pytest.fixture
def target(line: Line, unique_name: UniqueName) -> Settings:
    return make_topic(line.settings, unique_name("staging"), partitions=4)
