"""A database that is not there is told in one line that says what to look at, nothing twice."""

import psycopg
import pytest

from sql.connect import connect, unreachable
from tocsin.errors import StorageError
from tocsin.settings import Settings

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
        "database d at h:5432 refuses: FATAL: no such role, FATAL: no encryption;"
        " is DATABASE_URL right? `make show` prints that of `make up`"
    )


def test_setting_that_is_not_set_is_told_in_place_of_its_default() -> None:
    error = psycopg.OperationalError("connection failed: fe_sendauth: no password supplied")
    assert unreachable(Settings().database_url, error) == (
        "database tocsin at 127.0.0.1:5432 asks for a password; DATABASE_URL is not set:"
        " `make show` prints that of `make up`"
    )
    away = unreachable(Settings().database_url, psycopg.OperationalError("Connection refused"))
    assert away == (
        "database tocsin at 127.0.0.1:5432 cannot be reached: Connection refused;"
        " DATABASE_URL is not set: `make show` prints that of `make up`"
    )
