"""A database that is not there is told in one line that says what to look at, nothing twice."""

import psycopg
import pytest

from sql.connect import connect, unreachable
from tocsin.errors import StorageError

ADVICE = "; is it running, and is DATABASE_URL right? `make show` prints that of `make up`"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("127.0.0.1:1/tocsin", "database tocsin at 127.0.0.1:1 cannot be reached: "),
        ("127.0.0.1:1,127.0.0.2:2/d", "database d at 127.0.0.1,127.0.0.2:1,2 cannot be reached: "),
    ],
)
def test_closed_port_is_told_once(place: str, said: str) -> None:
    with pytest.raises(StorageError) as error:
        connect(f"postgresql://tocsin:s3cret@{place}", name="test")
    assert str(error.value) == f"{said}Connection refused{ADVICE}"


def test_missing_socket_is_told_once() -> None:
    with pytest.raises(StorageError) as error:
        connect("postgresql:///d?host=/nowhere", name="test")
    told = f"database d at /nowhere:5432 cannot be reached: No such file or directory{ADVICE}"
    assert str(error.value) == told


def test_refusal_of_both_attempts_is_told_once() -> None:
    text = "\n".join(
        f'connection to server at "h" (10.0.0.1), port 5432 failed: {why}'
        for why in ("FATAL:  no such role", "FATAL:  no such role", "FATAL:  no encryption")
    )
    told = unreachable("postgresql://h/d", psycopg.OperationalError(f"connection failed: {text}"))
    assert told == (
        "database d at h:5432 cannot be reached: FATAL: no such role, FATAL: no encryption" + ADVICE
    )
