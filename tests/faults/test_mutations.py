"""The suite can fail: with one safeguard taken away, the checker finds what is then lost or twice.

MUTATIONS.md lists what was taken away and what failed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.faults.broken import MUTATIONS
from tests.faults.rig import Found, Rig, wait_until_stored

MakeRig = Callable[..., Rig]


@contextmanager
def locked(rig: Rig, table: str) -> Iterator[None]:
    """Let nothing be written into a table."""
    with psycopg.connect(rig.line.settings.database_url) as conn:
        conn.execute(f"LOCK TABLE {table} IN SHARE MODE".encode())
        yield


def killed_while_locked(rig: Rig, table: str) -> None:
    """Kill the flow when a table has not been written for some epochs, and start it again."""
    with locked(rig, table):
        rig.some_time(4, 4)
        rig.kill_flow()
    rig.start_flow()


def logs_held_up(rig: Rig) -> None:
    killed_while_locked(rig, "logs")


def windows_held_up(rig: Rig) -> None:
    killed_while_locked(rig, "error_windows")


def killed_often(rig: Rig) -> None:
    for _ in range(5):
        rig.some_time(0.3, 1.2)
        rig.kill_flow()
        rig.start_flow()


def answer_unheard(rig: Rig) -> None:
    """Have a client send again, after the flow was killed, what was acknowledged before."""
    body = rig.load.last_body
    # Two snapshots on: what is read again after the start would teach the flow the ids anew.
    for _ in range(2):
        wait_until_stored(rig.line, rig.look_after_flow)
        rig.load.wait_for_more(1000)
    rig.kill_flow()
    rig.load.post_again(body)
    rig.start_flow()


def broker_held_up(rig: Rig) -> None:
    """Kill the API while the broker stands still."""
    broker = rig.servers.broker
    broker.pause()
    rig.some_time(1, 1)
    rig.kill_api()
    broker.resume()


COURSES = {
    "logs_undrained_unchecked": (logs_held_up, "lost:"),
    "windows_undrained": (windows_held_up, "counted in windows"),
    "positions_ignored": (killed_often, "duplicated:"),
    "ids_forgotten": (answer_unheard, "duplicated:"),
    "acknowledged_early": (broker_held_up, "lost:"),
}


def run(make_rig: MakeRig, mutation: str | None, course: Callable[[Rig], None]) -> Found:
    rig = make_rig(program=("-m", "tests.faults.broken", mutation)) if mutation else make_rig()
    rig.begin()
    course(rig)
    rig.load.wait_for_more(1000)
    rig.end()
    return rig.check()


def test_sink_that_does_not_commit_before_its_snapshot_loses_records(make_rig: MakeRig) -> None:
    found = run(make_rig, "logs_undrained_unchecked", logs_held_up)
    assert len(found.storage.lost) > 100
    assert any("lost:" in problem for problem in found.problems)


@pytest.mark.faults_long
def test_start_sees_that_the_snapshot_is_ahead_of_the_database(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    """A second safeguard: without the first one, a start rebuilds the state from the rows."""
    found = run(make_rig, "logs_undrained", logs_held_up)
    words = "".join(log.read_text() for log in tmp_path.glob("flow-*.log"))
    assert "it was restored from a backup" in words
    assert not found.problems, "\n".join(found.problems)


@pytest.mark.faults_long
@pytest.mark.parametrize("mutation", COURSES)
def test_mutation_is_found(make_rig: MakeRig, mutation: str) -> None:
    course, told = COURSES[mutation]
    found = run(make_rig, mutation, course)
    assert any(told in problem for problem in found.problems), found.problems


@pytest.mark.faults_long
@pytest.mark.parametrize("mutation", COURSES)
def test_what_finds_the_mutation_finds_nothing_without_it(make_rig: MakeRig, mutation: str) -> None:
    course, _ = COURSES[mutation]
    found = run(make_rig, None, course)
    assert not found.problems, "\n".join(found.problems)


def test_every_mutation_is_listed_with_what_it_broke() -> None:
    page = (Path(__file__).parent / "MUTATIONS.md").read_text()
    assert [name for name in MUTATIONS if f"`{name}`" not in page] == []
