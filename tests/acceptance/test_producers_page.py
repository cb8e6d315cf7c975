"""Every example of docs/producers.md does what the page says."""

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from stack.commands import CHECKOUT
from tests.acceptance.conftest import Platform
from tests.acceptance.programs import BROKER, Rsyslog

SERVICE = "checkout"

PAGE = (CHECKOUT / "docs/producers.md").read_text()
EXAMPLES: list[tuple[str, str]] = re.findall(
    r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
)


def examples(language: str) -> list[str]:
    return [text for found, text in EXAMPLES if found == language]


def replaced(text: str, replacements: dict[str, str]) -> str:
    """Return an example with what a reader sets set, all of which it must mention."""
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return text


def broker(text: str, tocsin: Platform) -> dict[str, str]:
    return {BROKER: tocsin.stack.kafka_bootstrap} if BROKER in text else {}


def exported(tocsin: Platform) -> dict[str, str]:
    return {"TOCSIN_URL": tocsin.stack.api_url, "INGEST_KEY": tocsin.key}


def assert_sent(tocsin: Platform, service: str) -> None:
    [row] = tocsin.logs(service, 1)
    assert (row["level"], row["message"]) == ("ERROR", "card declined")


@pytest.mark.parametrize("example", examples("sh"))
def test_shell_example_sends_and_leaves_no_file(
    example: str, tocsin: Platform, rsyslog: Rsyslog, unique_name: Callable[[str], str]
) -> None:
    service = unique_name(SERVICE)
    text = replaced(example, {SERVICE: service, **broker(example, tocsin)})
    text = text.replace("logger ", f"logger --socket {rsyslog.socket} ")
    (rsyslog.folder.outside / service).mkdir()
    script = f"set -eu\ncd {rsyslog.folder.inside}/{service}\n{text}"
    rsyslog.folder.run("sh", "-c", script, env=exported(tocsin))
    assert_sent(tocsin, service)
    assert not [*(rsyslog.folder.outside / service).iterdir()]


@pytest.mark.parametrize("example", examples("python"))
def test_python_example_sends(
    example: str, tocsin: Platform, unique_name: Callable[[str], str]
) -> None:
    service = unique_name(SERVICE)
    text = replaced(example, {SERVICE: service, **broker(example, tocsin)})
    done = subprocess.run(
        [sys.executable, "-"],
        input=text,
        env={**os.environ, **exported(tocsin)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_sent(tocsin, service)


@pytest.mark.parametrize("example", examples("sql"))
def test_query_is_understood(example: str, tocsin: Platform) -> None:
    tocsin.query(example)


def test_no_example_is_left_out() -> None:
    assert {language for language, _ in EXAMPLES} == {"sh", "python", "sql", "console"}
    assert (len(examples("sh")), len(examples("python")), len(examples("sql"))) == (4, 5, 1)
