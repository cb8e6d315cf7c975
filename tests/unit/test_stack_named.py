"""Which servers `make up` takes for others', and what it says where none of these answers."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.cache import silent
from stack.errors import StackError
from stack.named import Named, named_servers, require_answers
from stack.ports import LOOPBACK, free_port
from stack.state import State, load_state
from tests.unit.test_stack_cli import up


@pytest.fixture
def closed() -> Iterator[str]:
    """A place where nobody listens, nor can anybody begin to."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        yield f"{LOOPBACK}:{bound.getsockname()[1]}"


@pytest.fixture
def listening() -> Iterator[str]:
    """A place where somebody listens."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield f"{LOOPBACK}:{server.getsockname()[1]}"


@pytest.fixture
def state(tmp_path: Path) -> State:
    """What a stack remembers."""
    return load_state(tmp_path)


@pytest.mark.parametrize(
    "owner", ["database_password", "flow_password", "api_password", "analyst_password"]
)
def test_own_database_is_known_by_its_passwords_wherever_it_was(state: State, owner: str) -> None:
    said: list[str] = []
    url = f"postgresql://somebody:{getattr(state, owner)}@{LOOPBACK}:5433/tocsin"
    assert named_servers({"DATABASE_URL": url}, state, said.append) == Named()
    assert said == [
        "DATABASE_URL is as `make up` prints it: starting its own server, as if it were unset"
    ]


@pytest.mark.parametrize("url", ["postgresql://a:secret@db/tocsin", "postgresql://db/x", "no url"])
def test_database_of_others_is_named(state: State, url: str) -> None:
    state.database_url = url
    assert named_servers({"DATABASE_URL": url}, state, silent) == Named(database_url=url)
    assert named_servers({"DATABASE_URL": url}, None, silent) == Named(database_url=url)


def test_own_broker_is_known_by_where_it_was(state: State, closed: str) -> None:
    state.kafka_bootstrap = closed
    assert named_servers({"KAFKA_BOOTSTRAP": closed}, state, silent) == Named()


def test_broker_of_others_is_named_also_where_the_own_one_was(
    state: State, closed: str, listening: str
) -> None:
    state.kafka_bootstrap = listening
    for bootstrap in (closed, listening):
        named = named_servers({"KAFKA_BOOTSTRAP": bootstrap}, state, silent)
        assert named == Named(kafka_bootstrap=bootstrap)
    state.kafka_bootstrap, state.has_own_broker = closed, False
    named = named_servers({"KAFKA_BOOTSTRAP": closed}, state, silent)
    assert named == Named(kafka_bootstrap=closed)


def test_named_database_that_does_not_answer_is_told_before_anything_is_started(
    tmp_path: Path, closed: str
) -> None:
    done = up(
        STACK_STATE_DIR=str(tmp_path / "state"),
        DATABASE_URL=f"postgresql://postgres:secret@{closed}/tocsin",
        KAFKA_BOOTSTRAP="",
        STACK_BROKER_PORT=str(free_port()),
        TOCSIN_API_PORT=str(free_port()),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: DATABASE_URL is set, and nothing answers there: `unset DATABASE_URL` for a database"
        " of make up's own, or start what should answer\n"
    )
    assert not (tmp_path / "state").exists()


def test_all_named_servers_that_do_not_answer_are_told_at_once(closed: str, listening: str) -> None:
    told = "KAFKA_BOOTSTRAP is set, and nothing answers there: `unset KAFKA_BOOTSTRAP` for a broker"
    with pytest.raises(StackError, match=told):
        require_answers(Named(kafka_bootstrap=closed), silent)
    url = f"postgresql://postgres:secret@{closed}/tocsin"
    told = (
        "DATABASE_URL and KAFKA_BOOTSTRAP are set, and nothing answers there:"
        " `unset DATABASE_URL KAFKA_BOOTSTRAP` for a database and a broker of make up's own"
    )
    with pytest.raises(StackError, match=told):
        require_answers(Named(url, closed), silent)
    require_answers(Named(kafka_bootstrap=f"{closed}, PLAINTEXT://{listening}"), silent)


def test_named_servers_that_are_used_are_told_with_the_way_to_own_ones(listening: str) -> None:
    said: list[str] = []
    require_answers(Named(kafka_bootstrap=listening), said.append)
    [line] = said
    assert line.startswith("KAFKA_BOOTSTRAP is set: using the broker there; `unset")


def test_what_is_no_place_is_left_to_who_uses_it(state: State) -> None:
    require_answers(Named(database_url="no url", kafka_bootstrap="localhost:many"), silent)
    servers = {"DATABASE_URL": "no url", "KAFKA_BOOTSTRAP": "localhost:many"}
    for known in (state, None):
        assert named_servers(servers, known, silent) == Named("no url", "localhost:many")


def test_servers_of_a_stack_that_is_gone_are_not_taken_for_others(
    tmp_path: Path, closed: str, listening: str
) -> None:
    gone = load_state(tmp_path / "gone")
    for known in (None, load_state(tmp_path / "next")):
        for password in gone.database_passwords:
            url = f"postgresql://postgres:{password}@{closed}/tocsin"
            exports = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP": closed}
            assert named_servers(exports, known, silent) == Named()
            for broker in (listening, "kafka.example:1"):
                others = {**exports, "KAFKA_BOOTSTRAP": broker}
                assert named_servers(others, known, silent) == Named(kafka_bootstrap=broker)


def test_broker_of_others_beside_the_own_database_is_named(state: State, closed: str) -> None:
    url = f"postgresql://postgres:{state.database_password}@{closed}/tocsin"
    exports = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP": closed}
    assert named_servers(exports, state, silent) == Named(kafka_bootstrap=closed)


def test_port_that_is_asked_for_wins_over_what_the_stack_printed(
    tmp_path: Path, state: State, listening: str
) -> None:
    state.kafka_bootstrap = listening
    gone = load_state(tmp_path / "gone")
    port = listening.rpartition(":")[2]
    for known, owner in ((state, state), (None, gone)):
        url = f"postgresql://postgres:{owner.database_password}@{listening}/tocsin"
        exports = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP": listening}
        asked = {"STACK_DATABASE_PORT": "1", "STACK_BROKER_PORT": "2"}
        assert named_servers({**exports, **asked}, known, silent) == Named()
        asked["STACK_BROKER_PORT"] = port
        named = named_servers({**exports, **asked}, known, silent)
        assert named == Named(kafka_bootstrap=listening)
    others = {"DATABASE_URL": f"postgresql://postgres:secret@{listening}/tocsin"}
    named = named_servers({**others, "STACK_DATABASE_PORT": "1"}, None, silent)
    assert named == Named(database_url=others["DATABASE_URL"])
