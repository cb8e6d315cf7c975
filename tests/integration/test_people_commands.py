"""`tocsin users` and `tocsin keys` as a person runs them."""

from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from tests.conftest import as_role
from tests.integration.commands import Run, failure, tocsin

__all__ = ["tocsin"]

EMAIL = "a@example.org"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_PASSWORD", "correct horse battery")


def test_user_is_made_listed_changed_and_deleted(tocsin: Run) -> None:
    made = tocsin("users", "create", "--email", EMAIL, "--role", "admin")
    assert made.stdout == f"user {EMAIL} (admin) is created\n"
    tocsin("users", "create", "--email", "b@example.org", "--role", "admin")
    listed = tocsin("users", "list").stdout
    assert listed.index(EMAIL) < listed.index("b@example.org")
    changed = tocsin("users", "update", EMAIL.upper(), "--role", "viewer", "--new-password")
    assert changed.stdout == f"user {EMAIL} (viewer)\n"
    renamed = tocsin("users", "update", EMAIL, "--new-email", "c@example.org")
    assert renamed.stdout == "user c@example.org (viewer)\n"
    assert tocsin("users", "delete", "c@example.org").stdout == "user c@example.org is deleted\n"
    assert "c@example.org" not in tocsin("users", "list").stdout


def test_last_admin_stays(tocsin: Run) -> None:
    tocsin("users", "create", "--email", EMAIL, "--role", "admin")
    assert "last admin" in failure(tocsin("users", "delete", EMAIL))
    assert "last admin" in failure(tocsin("users", "update", EMAIL, "--role", "viewer"))


def test_unknown_user_and_change_of_nothing_are_told_in_a_line(tocsin: Run) -> None:
    assert "no user has the address" in failure(tocsin("users", "delete", EMAIL))
    assert "nothing to change" in failure(tocsin("users", "update", EMAIL))
    assert "is no e-mail address" in failure(
        tocsin("users", "update", EMAIL, "--new-email", "nobody")
    )


def test_address_that_cannot_be_is_told_before_a_password_is_asked_for(
    tocsin: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOCSIN_PASSWORD")
    made = tocsin("users", "create", "--email", "nobody", "--role", "admin")
    assert failure(made) == "tocsin: --email: 'nobody' is no e-mail address"
    renamed = tocsin("users", "update", EMAIL, "--new-email", "nobody", "--new-password")
    assert failure(renamed) == "tocsin: --new-email: 'nobody' is no e-mail address"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("users", "list"), "no users yet: `tocsin users create"),
        (("keys", "list"), "no ingest keys yet: `tocsin keys create"),
        (("incidents", "labels"), "no labels yet: `tocsin incidents label"),
        (("dead-letters", "list"), "no dead letters\n"),
        (("dead-letters", "list", "--summary"), "no dead letters\n"),
        (("dead-letters", "list", "--service", "checkout"), "no dead letters match\n"),
    ],
)
def test_list_of_nothing_says_so_and_how_the_first_comes(
    tocsin: Run, words: tuple[str, ...], said: str
) -> None:
    listed = tocsin(*words)
    assert (listed.returncode, listed.stdout[: len(said)]) == (0, said)


def test_what_the_role_may_not_is_told_in_a_line(tocsin: Run, database_url: str) -> None:
    said = failure(tocsin("users", "list", DATABASE_URL=as_role(database_url, "analyst")))
    assert said == (
        "tocsin: the database: permission denied for table users:"
        " give the DATABASE_URL of its owner"
    )


def test_key_is_made_listed_and_revoked(tocsin: Run, database_url: str) -> None:
    key = tocsin("keys", "create", "--name", "shipper", "--services", "a", "--services", "b-*")
    assert key.stdout.startswith("tcs_")
    tocsin("keys", "create", "--name", "other")
    listed = tocsin("keys", "list").stdout
    assert "shipper" in listed
    assert "a, b-*" in listed
    assert key.stdout.split("_", 2)[2].strip() not in listed
    assert tocsin("keys", "revoke", "shipper").stdout == "key shipper is revoked\n"
    assert "no ingest key goes by 'shiper'" in failure(tocsin("keys", "revoke", "shiper"))
    key_id = key.stdout.split("_")[1]
    for which in ("shipper", key_id):
        told = tocsin("keys", "revoke", which).stdout
        assert told.startswith("key shipper is revoked already, since 20")
    with psycopg.connect(database_url) as conn:
        query = "select name from ingest_keys where revoked_at is null"
        assert conn.execute(query).fetchall() == [("other",)]
        query = "select action from audit_log order by seq"
        actions = [action for (action,) in conn.execute(query).fetchall()]
    assert actions == ["key.created", "key.created", "key.revoked"]


def test_change_of_the_detection_settings_is_in_the_audit_log(
    tocsin: Run, database_url: str
) -> None:
    begin = datetime.now(timezone.utc).replace(second=0, microsecond=0) + timedelta(minutes=30)
    changed = tocsin("detection", "set", "critical_sigma=6", "--from", begin.isoformat())
    assert changed.returncode == 0, changed
    assert tocsin("detection", "withdraw", "2").returncode == 0
    with psycopg.connect(database_url) as conn:
        rows = conn.execute("select action, subject, actor from audit_log order by seq").fetchall()
    assert [row[:2] for row in rows] == [
        ("detection.version_added", "2"),
        ("detection.version_withdrawn", "2"),
    ]
    assert all(row[2].startswith("command line (") for row in rows)
