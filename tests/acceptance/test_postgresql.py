"""PostgreSQL's own structured log, shipped by rsyslog with the template that we ship."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from stack import debian
from stack import timescale as timescale_module
from stack.timescale import FAST, Timescale
from stack.waiting import wait_until
from tests.acceptance.conftest import Platform, time_of
from tests.acceptance.programs import JSONLOG, JSONLOG_SERVICE, Rsyslog
from tests.conftest import skip_without_server

MINUTES = 10
BURST = 300

BY_ZERO = "SELECT 1/0 AS \"naïve\n🔔 column\", 'it''s\t\\ a text' -- {}\n;"
NO_COLUMN = 'SELECT "Größe {}"'


Ship = Callable[[str], None]


@pytest.fixture
def postgresql() -> Iterator[Timescale]:
    """A server whose structured log holds nothing but what these tests make it say."""
    settings = {**FAST, **timescale_module.JSONLOG, "log_statement": "all"}
    with skip_without_server():
        debian.lay_out()
        server = Timescale(
            f"test-{secrets.token_hex(6)}", password=secrets.token_urlsafe(16), settings=settings
        )
        server.start()
    yield server
    server.remove()


@pytest.fixture
def ship(postgresql: Timescale, rsyslog_with: Callable[[Mapping[str, str]], Rsyslog]) -> Ship:
    """A function that ships the server's log, from its first line on, as a service's."""

    def start(service: str) -> None:
        log = postgresql.jsonlog.relative_to(debian.root_folder())
        named = JSONLOG_SERVICE.replace("postgresql", service)
        rsyslog_with({JSONLOG: f"/{log}", JSONLOG_SERVICE: named})

    return start


def lines_of(server: Timescale) -> list[dict[str, Any]]:
    """Return the lines that the server has logged."""
    text = server.jsonlog.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].split("\n")[:-1]]


def fail(server: Timescale, statements: list[str]) -> None:
    """Run statements, each of which fails, and wait until the server has logged them all."""
    before = errors_in(lines_of(server))
    with psycopg.connect(server.url, autocommit=True) as conn:
        for statement in statements:
            with pytest.raises(psycopg.Error):
                conn.execute(statement.encode())
    due = before + len(statements)
    wait_until(lambda: errors_in(lines_of(server)) == due, "all errors logged", deadline_s=60)


def errors_in(lines: list[dict[str, Any]]) -> int:
    return sum(line["error_severity"] == "ERROR" for line in lines)


def move_into_the_past(server: Timescale) -> None:
    """Spread the lines that the server has logged over the minutes before this one.

    A baseline takes minutes to grow, and PostgreSQL can't be told another time. So they are its
    own lines, each with an earlier timestamp. The server goes on to append to the file.
    """
    minute = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    texts = server.jsonlog.read_text().splitlines(keepends=True)
    step = MINUTES * timedelta(minutes=1) / len(texts)
    moved = []
    for number, text in enumerate(texts):
        when = minute - MINUTES * timedelta(minutes=1) + number * step
        stamp = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03} UTC"
        moved.append(text.replace(json.loads(text)["timestamp"], stamp, 1))
    server.jsonlog.write_text("".join(moved))


def stamp_of(line: Mapping[str, Any]) -> datetime:
    """Return the time that PostgreSQL wrote."""
    assert line["timestamp"].endswith(" UTC")
    return datetime.fromisoformat(line["timestamp"].replace(" UTC", "+00:00"))


def test_burst_of_failing_statements_becomes_an_incident_with_those_very_lines(
    tocsin: Platform,
    postgresql: Timescale,
    ship: Ship,
    unique_name: Callable[[str], str],
) -> None:
    service = unique_name("postgresql")
    for _ in range(10):
        fail(postgresql, [BY_ZERO])
    move_into_the_past(postgresql)
    ship(service)
    failing = [(BY_ZERO, NO_COLUMN)[n % 2].format(n) for n in range(BURST)]
    fail(postgresql, [*failing, BY_ZERO.format("a long statement " * 1000)])

    sent = lines_of(postgresql)
    stored = tocsin.logs(service, len(sent))
    assert [as_stored(line) for line in sent] == [
        (row["timestamp"], row["level"], row["message"], row["metadata"])
        for row in stored[: len(sent)]
    ]

    # A burst that spans two minutes fires in the one in which it is strong enough.
    errors = [line for line in sent if line["error_severity"] == "ERROR"]
    minutes = Counter(stamp_of(line).replace(second=0, microsecond=0) for line in errors)
    incident = tocsin.incident(
        service, lambda found: found["observed"] == minutes[time_of(found["window_start"])]
    )
    assert incident["title"].startswith("Anomaly Detected")
    assert incident["baseline_windows"] >= MINUTES - 2
    since = time_of(incident["first_window"])
    due = [
        (when, message, metadata)
        for when, _level, message, metadata in map(as_stored, errors)
        if when >= since
    ]
    correlated = tocsin.incident_logs(incident["id"], len(due))
    assert due == [
        (time_of(line["timestamp"]), line["message"], line["metadata"]) for line in correlated
    ]


def as_stored(line: Mapping[str, Any]) -> tuple[datetime, str, str, dict[str, Any]]:
    """Return what is to become of a line: time, level, message and all the rest."""
    levels = {"LOG": "INFO", "WARNING": "WARN"}
    level = levels.get(line["error_severity"], line["error_severity"])
    rest = {
        name: value
        for name, value in line.items()
        if name not in {"timestamp", "error_severity", "message"}
    }
    return stamp_of(line), level, line["message"], rest


def test_every_severity_becomes_its_level(
    tocsin: Platform, postgresql: Timescale, ship: Ship, unique_name: Callable[[str], str]
) -> None:
    service = unique_name("postgresql")
    raised = {"debug": "DEBUG", "log": "INFO", "info": "INFO", "notice": "INFO", "warning": "WARN"}
    with psycopg.connect(postgresql.url, autocommit=True) as conn:
        conn.execute("SET log_min_messages = debug1")
        for name in raised:
            conn.execute(f"DO $$ BEGIN RAISE {name} 'this is {name}'; END $$".encode())
    nowhere = postgresql.database_url("nowhere")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(nowhere)
    wait_until(lambda: "nowhere" in postgresql.jsonlog.read_text(), "all logged", deadline_s=60)
    ship(service)
    expected = {f"this is {name}": level for name, level in raised.items()}
    expected['database "nowhere" does not exist'] = "FATAL"
    stored = tocsin.logs(service, len(lines_of(postgresql)))
    found = {row["message"]: row["level"] for row in stored if row["message"] in expected}
    assert found == expected


def test_line_that_is_cut_off_is_put_aside_with_its_text(
    tocsin: Platform, postgresql: Timescale, ship: Ship, unique_name: Callable[[str], str]
) -> None:
    service = unique_name("postgresql")
    broken = '{"timestamp":"2026-11-23 01:02:03.456 UTC","message":"cut o'
    with postgresql.jsonlog.open("a") as log:
        log.write(f"{broken}\n")
    ship(service)
    letters = "SELECT raw, reason FROM dead_letters WHERE key = %s"
    [letter] = tocsin.wait_for(lambda: tocsin.query(letters, service.encode()), "the letter")
    assert letter["reason"].startswith("timestamp: ")
    assert json.loads(bytes(letter["raw"]))["metadata"] == {"msg": broken}
