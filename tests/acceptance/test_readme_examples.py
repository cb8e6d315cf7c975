"""The examples of README.md that send, and its queries, do what the page says."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from stack.commands import CHECKOUT
from stack.ports import LOOPBACK
from tests.acceptance.conftest import Platform
from tests.acceptance.programs import Folder

SERVICE = "checkout"
README = (CHECKOUT / "README.md").read_text()
SENDING = README.partition("## Send logs")[2].partition("\n## ")[0]
QUERIES = README.partition("## Query in SQL")[2].partition("\n## ")[0]


def examples(language: str, section: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


[HTTP, KAFKA] = examples("python", SENDING)


def run_python(text: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-"],
        input=text,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def exports(tocsin: Platform) -> dict[str, str]:
    return {
        "TOCSIN_URL": tocsin.stack.api_url,
        "KAFKA_BOOTSTRAP": tocsin.stack.kafka_bootstrap,
        "INGEST_KEY": tocsin.key,
    }


@pytest.mark.parametrize("example", [HTTP, KAFKA], ids=["http", "kafka"])
def test_python_of_the_readme_sends(
    example: str, tocsin: Platform, unique_name: Callable[[str], str]
) -> None:
    service = unique_name(SERVICE)
    done = run_python(example.replace(SERVICE, service), **exports(tocsin))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [row["level"] for row in tocsin.logs(service, 1)] == ["ERROR"]


def test_curl_of_the_readme_sends(
    tocsin: Platform, folder: Folder, unique_name: Callable[[str], str]
) -> None:
    [example] = examples("sh", SENDING)
    service = unique_name(SERVICE)
    folder.run("sh", "-euc", example.replace(SERVICE, service), env=exports(tocsin))
    assert [row["level"] for row in tocsin.logs(service, 1)] == ["ERROR"]


def test_python_of_the_readme_says_that_kafka_is_away() -> None:
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        done = run_python(KAFKA, KAFKA_BOOTSTRAP=f"{LOOPBACK}:{bound.getsockname()[1]}")
    assert done.returncode == 1
    assert "Kafka has not acknowledged the record within 10 seconds\n" in done.stderr


def test_python_of_the_readme_says_what_kafka_refuses(tocsin: Platform) -> None:
    example = KAFKA.replace('"logs"', '"a topic of no such name"')
    done = run_python(example, **exports(tocsin))
    assert done.returncode == 1
    assert "Kafka has not taken the record: KafkaError" in done.stderr


def test_queries_of_the_readme_are_understood(tocsin: Platform) -> None:
    [example] = examples("sql", QUERIES)
    statements = [text for text in example.split(";\n") if text.strip()]
    assert len(statements) == 3
    for statement in statements:
        tocsin.query(statement)


def test_examples_of_the_readme_name_no_address_of_their_own() -> None:
    after = README.partition("## Send logs")[2]
    runnable = [*examples("sh", after), *examples("python", after)]
    assert len(runnable) == 4
    assert [text for text in runnable if "127.0.0.1" in text] == []
