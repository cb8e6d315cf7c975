"""Every query of docs/sql.md gives the answer that the page shows."""

import os
import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import psycopg
import pytest

from tests.integration.analysts import CHECKOUT_ID, MINUTE, NOW, fill, freeze

PAGE = Path(__file__).parents[2] / "docs/sql.md"
QUESTION = re.compile(
    r"^### (?P<title>.+)\n(?P<text>(?:(?!###).*\n)*?)```sql\n(?P<query>[^`]*)```\n\n"
    r"(?P<answer>(?:\|.*\n)*)",
    re.MULTILINE,
)
WRITE = "WRITE_ANSWERS"
"""Set, it writes the answers into the page instead, to be looked at."""


class Question(NamedTuple):
    """A question of the page, with its query and the table below it."""

    title: str
    query: str
    answer: str


def questions() -> list[Question]:
    return [
        Question(found["title"], found["query"], found["answer"])
        for found in QUESTION.finditer(PAGE.read_text())
    ]


def answer(conn: psycopg.Connection, query: str) -> str:
    """Return what a query finds as a table, every value as psql would show it."""
    cursor = conn.execute(query.encode())
    names = [column.name for column in cursor.description or ()]
    result = cursor.pgresult
    assert result is not None
    rows = [
        [(result.get_value(row, column) or b"").decode() for column in range(len(names))]
        for row in range(result.ntuples)
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (names, ["---"] * len(names), *rows))


def test_page_answers_what_people_ask() -> None:
    found = questions()
    assert len(found) >= 20
    assert len(found) == PAGE.read_text().count("```sql\n")
    assert CHECKOUT_ID in PAGE.read_text()
    assert f"{NOW:%-d %B %Y, at %H:%M:%S}" in PAGE.read_text()


def asked(database_url: str, role: str = "analyst") -> dict[str, str]:
    """Return the answers that somebody of a role gets, by the questions' titles."""
    with psycopg.connect(database_url) as conn:
        freeze(conn)
        if role == "scoped_analyst":
            conn.execute("set search_path = frozen, pg_catalog, scoped, public")
        conn.execute(f"set role {role}".encode())
        return {question.title: answer(conn, question.query) for question in questions()}


def test_every_query_of_the_page_gives_the_answer_that_it_shows(database_url: str) -> None:
    fill(database_url)
    given = asked(database_url)
    if os.environ.get(WRITE):
        PAGE.write_text(QUESTION.sub(lambda found: _with(found, given), PAGE.read_text()))
        pytest.fail("the answers are written: look at them")
    assert given == {question.title: question.answer for question in questions()}


def test_analyst_of_some_services_asks_the_same_of_these(database_url: str) -> None:
    fill(database_url)
    with psycopg.connect(database_url) as conn:
        patterns = ["check*", "search", "auth", "pay*"]
        for pattern in patterns:
            conn.execute("insert into analyst_services values ('scoped_analyst', %s)", [pattern])
    expected = {question.title: question.answer for question in questions()}
    title = "Whose records break the contract, and how?"
    no_service = next(line for line in expected[title].splitlines(True) if "not UTF-8" in line)
    expected[title] = expected[title].replace(no_service, "")
    assert asked(database_url, "scoped_analyst") == expected
    with psycopg.connect(database_url) as conn:
        conn.execute("delete from analyst_services where services <> 'auth'")
    for title, given in asked(database_url, "scoped_analyst").items():
        assert not re.search("checkout|search|payments", given), title


@pytest.mark.parametrize("role", ["analyst", "scoped_analyst"])
def test_every_query_of_the_page_may_find_nothing(database_url: str, role: str) -> None:
    settings = "What share of a service's records are errors, hour by hour?"
    for title, given in asked(database_url, role).items():
        assert (given.count("\n") == 2) is (title != settings), title


def test_weeks_are_counted_whole_or_not_at_all(database_url: str) -> None:
    insert = """
        insert into incidents (id, service_id, kind, title, status, severity, first_window,
                               opened_at)
        select lpad(to_hex(day), 32, '0'), 's', 'manual', 't', 'OPEN', 'LOW', at, at
        from (select day, '2026-01-01 12:00+00'::timestamptz + day * interval '1 day' as at
              from generate_series(0, 30) as day) as days
    """
    with psycopg.connect(database_url) as conn:
        conn.execute(insert.encode())
    [weekly] = [given for title, given in asked(database_url).items() if "each week" in title]
    assert weekly.splitlines()[2].startswith("| 2026-01-12 00:00:00+00 | 7 | 0 |")


def test_service_that_has_logged_within_ten_minutes_has_not_stopped(database_url: str) -> None:
    insert = """
        insert into logs (timestamp, service_id, level, message, arrival, incarnation, partition,
                          "offset")
        values (%s, %s, 'INFO', 'm', now(), 1, 0, 0)
    """
    ten = NOW - timedelta(minutes=10)
    with psycopg.connect(database_url) as conn:
        for service, at in (("talks", ten + timedelta(seconds=3)), ("mute", ten - MINUTE)):
            conn.execute(insert, [at, service])
    given = asked(database_url)["Which services have stopped logging?"]
    assert ("mute" in given, "talks" in given) == (True, False)


def _with(found: re.Match[str], given: dict[str, str]) -> str:
    begin = found[0][: found.start("answer") - found.start()]
    return begin + given[found["title"]] + ("" if found["answer"] else "\n")


def examples(language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return found


def test_files_and_notebooks_of_the_page_hold_what_it_says(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database_url)
    [script] = examples("sh")
    python = f"{shlex.quote(sys.executable)} -m tocsin"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'tocsin() {{ {python} "$@"; }}\n{script}'],
        cwd=tmp_path,
        env={**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    from_file, from_database = examples("python")
    names: dict[str, Any] = {}
    exec(compile(from_file, "file", "exec"), names)
    # 30 errors in each hour of the day, and 6 of search, of which 5 more at 10:00 came late.
    expected = [("checkout", hour, 30) for hour in range(12)]
    expected += [("search", hour, 11 if hour == 10 else 6) for hour in range(12)]
    rows = names["errors"].rows()
    assert [(service, at.hour, errors) for service, at, errors in rows] == expected
    exec(compile(from_database, "database", "exec"), names)
    windows = names["windows"].rows()
    assert [(at.minute, errors) for at, errors, _, _ in windows[:4]] == [
        (58, 1),
        (59, 0),
        (0, 60),
        (1, 45),
    ]
    assert windows[2][2:] == (0.5, "fire")
    assert pl.read_parquet("windows.parquet").height == 3 * (12 * 60 + 35)
    assert pl.read_csv("incidents.csv").height == 6
