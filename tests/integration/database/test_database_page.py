"""The SQL of docs/database.md does what the page says, on both editions."""

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg

from tests.conftest import as_role
from tests.integration.database.conftest import Database

PAGE = (Path(__file__).parents[3] / "docs/database.md").read_text()


def blocks() -> list[str]:
    found: list[str] = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return found


def test_sql_of_the_page_does_what_it_says(database: Database) -> None:
    own_days, of_everything, of_some_services = blocks()
    # A day that begins in Berlin before it does in UTC.
    late = datetime(2026, 7, 1, 22, 30, tzinfo=timezone.utc)
    names = ("checkout", "batch-night", "search")
    database.insert_logs(
        [(late + timedelta(days=day), name, "ERROR") for day in (0, 1) for name in names]
    )
    expected = [(datetime(2026, 7, day), 3) for day in (2, 3)]  # noqa: DTZ001  (a calendar's day)
    assert database.rows(own_days) == expected
    try:
        for statement in f"{of_everything}{of_some_services}".split(";\n"):
            if statement.strip():
                database.execute(statement)
        seen = "select distinct service_id from {} order by 1"
        for role, schema, services in (("alice", "public", 3), ("bob", "scoped", 2)):
            with psycopg.connect(database.url) as conn:
                conn.execute(f"set role {role}".encode())
                rows = conn.execute(seen.format(f"{schema}.logs").encode()).fetchall()
                conn.execute("reset role")
            assert len(rows) == services
        if database.edition == "apache":
            assert_bob_is_bounded(database.url)
    finally:
        for role in ("alice", "bob"):
            database.execute(f"drop role if exists {role}")


def assert_bob_is_bounded(database_url: str) -> None:
    """Log in as the page says: each query of docs/sql.md then sees some services alone."""
    url = as_role(database_url, "bob")
    password = psycopg.conninfo.conninfo_to_dict(url)["password"]
    url = url.replace(f":{password}@", ":a%20long%20password@")
    with psycopg.connect(url) as conn:
        assert conn.execute("select count(distinct service_id) from logs").fetchall() == [(2,)]
        assert conn.execute("show statement_timeout").fetchall() == [("1min",)]
        assert conn.execute("show transaction_read_only").fetchall() == [("on",)]
