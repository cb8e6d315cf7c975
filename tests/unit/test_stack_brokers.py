"""Which broker is chosen, and what a person sees of a machine that can't run Apache Kafka."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack import brokers, kafka_jars
from stack.commands import CHECKOUT
from stack.errors import StackError
from tests.unit.test_make import program

JAVA = "echo 'openjdk version \"{}\" 2025-04-15' >&2"


@pytest.mark.parametrize(
    ("environ", "kind"),
    [({}, "light"), ({"BROKER": ""}, "light"), ({"BROKER": "kafka"}, "kafka")],
)
def test_broker_is_the_light_one_unless_kafka_is_named(
    environ: dict[str, str], kind: brokers.Kind
) -> None:
    assert brokers.chosen(environ) == kind


def test_unknown_broker_gets_one_clear_line_and_makes_no_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stack", "up"],
        cwd=CHECKOUT,
        env={**os.environ, "STACK_STATE_DIR": str(tmp_path / "state"), "BROKER": "redpanda"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "error: BROKER=redpanda: the broker is light (the default) or kafka\n"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("programs", "lacking"),
    [
        ({"mvn": "exit 1"}, "java is missing"),
        ({"java": JAVA.format("17.0.15")}, "mvn is missing"),
        ({"java": JAVA.format("11.0.2"), "mvn": "exit 1"}, "java is version 11"),
    ],
)
def test_what_lacks_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, programs: dict[str, str], lacking: str
) -> None:
    (tmp_path / "bin").mkdir()
    for name, script in programs.items():
        program(tmp_path / "bin", name, script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(StackError, match=f"Maven, but {lacking}: ") as refusal:
        kafka_jars.fetch()
    assert "apt-get install --no-install-recommends maven" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_jars_that_are_there_need_no_maven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "bin", "java", JAVA.format("21"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kafka_jars.jars_folder().mkdir(parents=True)
    assert kafka_jars.fetch() == kafka_jars.jars_folder()


MAVEN = """
for word; do
    case $word in -DoutputDirectory=*) folder=${word#*=} ;; esac
done
/bin/mkdir -p "$folder" && echo once >>"$XDG_CACHE_HOME/times" && : >"$folder/kafka.jar"
"""


def test_jars_are_fetched_once_on_a_machine_and_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path / "bin", "java", JAVA.format("21"))
    program(tmp_path / "bin", "mvn", MAVEN)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said: list[str] = []
    folders = [kafka_jars.fetch(said.append) for _ in range(2)]
    assert said == [kafka_jars.FETCHING]
    assert (tmp_path / "times").read_text() == "once\n"
    assert {path.name for path in folders[0].iterdir()} == {"kafka.jar"}
    assert {path.name for path in folders[0].parent.iterdir()} == {folders[0].name, "kafka.lock"}
