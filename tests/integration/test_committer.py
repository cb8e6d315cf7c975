"""The rule behind exactly-once: what a snapshot counts as read has been committed."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest

from flows.committer import Committer
from sql.connect import connect
from tocsin.errors import StorageError

WAIT_S = 30


class Gate:
    """Stores each job as a row, but only while it is open; every commit is one transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.open = threading.Event()
        self.entered = threading.Event()
        self.commits: list[list[int]] = []
        with psycopg.connect(url) as conn:
            conn.execute("CREATE TABLE jobs (job integer)")

    def commit(self, conn: psycopg.Connection, jobs: list[int]) -> None:
        self.entered.set()
        assert self.open.wait(WAIT_S)
        with conn.transaction(), conn.cursor() as cursor:
            cursor.executemany("INSERT INTO jobs VALUES (%s)", [(job,) for job in jobs])
        self.commits.append(jobs)

    def stored(self) -> list[int]:
        with psycopg.connect(self.url) as conn:
            return [job for (job,) in conn.execute("SELECT job FROM jobs ORDER BY job")]


@pytest.fixture
def gate(empty_database_url: str) -> Gate:
    return Gate(empty_database_url)


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def make(gate: Gate, stopping: threading.Event) -> Iterator[Callable[..., Committer[int]]]:
    made: list[Committer[int]] = []

    def build(
        commit: Callable[[psycopg.Connection, list[int]], None] = gate.commit,
        url: str = gate.url,
        at_once: int = 3,
        stopping: threading.Event = stopping,
    ) -> Committer[int]:
        made.append(
            Committer(
                "test",
                connect=lambda: connect(url, name="test"),
                commit=commit,
                size=lambda _job: 1,
                room=3,
                at_once=at_once,
                stopping=stopping,
            )
        )
        return made[-1]

    yield build
    gate.open.set()
    stopping.set()
    for committer in made:
        with suppress(StorageError):
            committer.close()


def test_drain_returns_only_when_everything_submitted_is_committed(
    gate: Gate, make: Callable[..., Committer[int]]
) -> None:
    committer = make()
    committer.submit(1)
    assert gate.entered.wait(WAIT_S)
    committer.submit(2)
    with ThreadPoolExecutor(1) as pool:
        drained = pool.submit(committer.drain)
        assert gate.stored() == []
        assert not drained.done()
        gate.open.set()
        drained.result(WAIT_S)
    assert gate.stored() == [1, 2]


def test_jobs_that_pile_up_are_committed_together_and_in_order(
    gate: Gate, make: Callable[..., Committer[int]]
) -> None:
    committer = make()
    committer.submit(1)
    assert gate.entered.wait(WAIT_S)
    committer.submit(2)
    committer.submit(3)
    gate.open.set()
    committer.drain()
    assert gate.commits == [[1], [2, 3]]


def test_only_so_much_is_committed_at_once(gate: Gate, make: Callable[..., Committer[int]]) -> None:
    committer = make(at_once=1)
    committer.submit(1)
    assert gate.entered.wait(WAIT_S)
    committer.submit(2)
    committer.submit(3)
    gate.open.set()
    committer.drain()
    assert gate.commits == [[1], [2], [3]]


def test_submit_waits_while_there_is_no_room(
    gate: Gate, make: Callable[..., Committer[int]]
) -> None:
    committer = make()
    for job in (1, 2, 3):
        committer.submit(job)
    with ThreadPoolExecutor(1) as pool:
        fourth = pool.submit(committer.submit, 4)
        assert gate.entered.wait(WAIT_S)
        assert not fourth.done()
        gate.open.set()
        fourth.result(WAIT_S)
    committer.drain()
    assert gate.stored() == [1, 2, 3, 4]


def test_lost_connection_is_replaced_and_the_same_jobs_come_again(
    gate: Gate, make: Callable[..., Committer[int]]
) -> None:
    pids: list[int] = []
    gate.open.set()
    committer = make(losing(gate, pids, 1))
    committer.submit(1)
    committer.drain()
    assert gate.stored() == [1]
    assert len(set(pids)) == 2


def losing(
    gate: Gate, pids: list[int], times: int, *, meanwhile: Callable[[], None] = lambda: None
) -> Callable[[psycopg.Connection, list[int]], None]:
    """Return what commits, but for the first few times, when its connection is ended before."""

    def commit(conn: psycopg.Connection, jobs: list[int]) -> None:
        pids.append(conn.info.backend_pid)
        if len(pids) <= times:
            meanwhile()
            with psycopg.connect(gate.url) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", [pids[-1]])
        gate.commit(conn, jobs)

    return commit


def assert_stored(gate: Gate, committer: Committer[int], *, is_stored: bool) -> None:
    """Submit a job; check that it is stored, or that the stop is told instead."""
    committer.submit(1)
    if is_stored:
        committer.drain()
        assert gate.stored() == [1]
    else:
        with pytest.raises(StorageError, match="stopped while nothing could be stored"):
            committer.drain()
        assert gate.stored() == []


@pytest.mark.parametrize("times", [1, 2])
def test_flow_that_is_told_to_stop_replaces_a_lost_connection_once(
    gate: Gate, make: Callable[..., Committer[int]], stopping: threading.Event, times: int
) -> None:
    pids: list[int] = []
    gate.open.set()
    committer = make(losing(gate, pids, times, meanwhile=stopping.set))
    assert_stored(gate, committer, is_stored=times == 1)
    assert len(set(pids)) == 2


class DuringThePause(threading.Event):
    """A signal to stop that comes while something waits to try again, just after something else."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._before = before

    def wait(self, timeout: float | None = None) -> bool:
        self._before()
        self.set()
        return super().wait(timeout)


@pytest.mark.parametrize("times", [1, 2])
def test_flow_that_is_told_to_stop_while_it_waits_to_try_again_tries_once_more(
    gate: Gate, make: Callable[..., Committer[int]], times: int
) -> None:
    tries: list[int] = []

    def commit(conn: psycopg.Connection, jobs: list[int]) -> None:
        tries.append(len(tries))
        if len(tries) <= times:
            raise StorageError("away")
        gate.commit(conn, jobs)

    gate.open.set()
    committer = make(commit, stopping=DuringThePause())
    assert_stored(gate, committer, is_stored=times == 1)
    assert len(tries) == 2


def test_what_the_database_refuses_for_good_ends_the_flow(
    gate: Gate, make: Callable[..., Committer[int]]
) -> None:
    def refuse(conn: psycopg.Connection, _jobs: list[int]) -> None:
        conn.execute("SELECT nothing FROM nowhere")

    committer = make(refuse)
    committer.submit(1)
    with pytest.raises(psycopg.errors.UndefinedTable):
        committer.drain()
    with pytest.raises(psycopg.errors.UndefinedTable):
        committer.submit(2)


def test_flow_that_is_told_to_stop_does_not_wait_for_a_database_that_is_away(
    make: Callable[..., Committer[int]], stopping: threading.Event
) -> None:
    committer = make(url="postgresql://tocsin:secret@127.0.0.1:1/tocsin")
    committer.submit(1)
    stopping.set()
    with pytest.raises(StorageError, match="is read again at the next start") as error:
        committer.drain()
    assert "secret" not in str(error.value)


def test_chunk_that_is_dropped_beneath_a_late_record_is_no_reason_to_end(
    gate: Gate, make: Callable[..., Committer[int]]
) -> None:
    """As the server says it of a COPY that has looked the chunk up before it was dropped."""
    dropped = "could not open relation with OID 32893"
    tries: list[str] = []

    def commit(conn: psycopg.Connection, jobs: list[int]) -> None:
        tries.append("once more" if tries else dropped)
        if tries == [dropped]:
            conn.execute(f"do $$ begin raise sqlstate 'XX000' using message = '{dropped}'; end $$")
        gate.commit(conn, jobs)

    gate.open.set()
    committer = make(commit=commit)
    committer.submit(1)
    committer.drain()
    assert (len(tries), gate.stored()) == (2, [1])
