"""Versions of the detection settings in the database: in order, in time, one after the other."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg
import pytest
from msgspec import Raw

from flows.books import LiveBooks
from sql.connect import connect
from sql.detection_settings import (
    add_version,
    lock_versions,
    now_ms,
    read_book,
    read_history,
    withdraw_version,
)
from tocsin.detection import WINDOW_MS, DetectionSettings
from tocsin.errors import NotFound, SettingsError, StorageError
from tocsin.settings import load_settings
from tocsin.settings_versions import LEAD_MS, SettingsDocument, SettingsVersion

LOUDER = SettingsDocument({"minimum_count": Raw(b"50")})


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url, name="test", autocommit=True) as connection:
        yield connection


def add_ahead(conn: psycopg.Connection, minutes: int) -> SettingsVersion:
    start_ms = (now_ms(conn) // WINDOW_MS + minutes) * WINDOW_MS
    return add_version(conn, LOUDER, created_by="ada", effective_from_ms=start_ms)


def move_start(conn: psycopg.Connection, number: int, start_ms: int) -> None:
    """Let a version start at another time, as if it had been made earlier."""
    statement = (
        "update detection_settings set effective_from = to_timestamp(%s / 1000.0)"
        " where version = %s"
    )
    conn.execute(statement, [start_ms, number])


def test_a_fresh_database_has_the_defaults_for_all_times(conn: psycopg.Connection) -> None:
    assert read_book(conn).timeline("checkout").versions == (DetectionSettings(),)


def test_a_version_is_read_back_as_it_was_made(conn: psycopg.Connection) -> None:
    version = add_version(conn, LOUDER, created_by="ada")
    book = read_book(conn)
    assert book.versions[-1] == version
    assert version.effective_from_ms >= book.read_ms + LEAD_MS - WINDOW_MS
    assert book.timeline("a").at(version.effective_from_ms // WINDOW_MS).minimum_count == 50
    assert book.timeline("a").at(version.effective_from_ms // WINDOW_MS - 1).minimum_count == 5


def test_a_start_that_is_too_soon_is_refused_and_changes_nothing(conn: psycopg.Connection) -> None:
    soon_ms = read_book(conn).read_ms // WINDOW_MS * WINDOW_MS + 9 * WINDOW_MS
    with pytest.raises(SettingsError, match="at least 10 minutes ahead"):
        add_version(conn, LOUDER, created_by="ada", effective_from_ms=soon_ms)
    assert read_book(conn).newest == 1


def test_a_start_that_is_too_far_is_refused_for_it_would_hold_up_all_that_follow(
    conn: psycopg.Connection,
) -> None:
    far_ms = (read_book(conn).read_ms // WINDOW_MS + 31 * 1440) * WINDOW_MS
    with pytest.raises(SettingsError, match="at most 30 days ahead"):
        add_version(conn, LOUDER, created_by="ada", effective_from_ms=far_ms)
    assert read_book(conn).newest == 1


def test_a_pattern_that_cannot_be_printed_is_refused(conn: psycopg.Connection) -> None:
    unprintable = SettingsDocument().with_change("x\ny", {"minimum_count": Raw(b"50")})
    with pytest.raises(SettingsError, match="printable"):
        add_version(conn, unprintable, created_by="ada")
    assert read_book(conn).newest == 1


def test_numbers_that_cannot_work_are_not_kept(conn: psycopg.Connection) -> None:
    with pytest.raises(SettingsError, match="minimum_count is -1"):
        add_version(conn, SettingsDocument({"minimum_count": Raw(b"-1")}), created_by="ada")
    assert read_book(conn).newest == 1


def test_two_at_once_become_two_versions_one_after_the_other(database_url: str) -> None:
    def add(name: str) -> int:
        with connect(database_url, name="test", autocommit=True) as connection:
            return add_version(connection, LOUDER, created_by=name).version

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, "abcd")) == [2, 3, 4, 5]
    with connect(database_url, name="test") as connection:
        starts = [version.effective_from_ms for version in read_book(connection).versions]
    assert starts == sorted(set(starts))


def test_live_books_know_a_version_before_it_can_judge_a_window(
    conn: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = LiveBooks(load_settings({"DATABASE_URL": database_url}), Event())
    version = add_version(conn, LOUDER, created_by="ada")
    assert books.book_for(0).newest == 1
    monkeypatch.setattr("flows.books._PRESSING_S", 0.0)
    assert books.book_for(version.effective_from_ms).newest == version.version


def test_live_books_go_on_with_what_they_know_while_the_database_is_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = LiveBooks(load_settings({"DATABASE_URL": database_url}), Event())
    monkeypatch.setattr("flows.books._PRESSING_S", 0.0)
    monkeypatch.setattr(books, "_url", "postgresql://tocsin@127.0.0.1:1/tocsin")
    assert books.book_for(2**50).newest == 1


def test_a_withdrawn_version_judges_nothing_and_stays_in_the_history(
    conn: psycopg.Connection,
) -> None:
    version = add_ahead(conn, 20)
    assert withdraw_version(conn, 2, withdrawn_by="bob").version == 1
    assert [known.version for known in read_book(conn).versions] == [1]
    _, stored = read_history(conn)
    assert (stored.version, stored.created_by, stored.withdrawn_by) == (version, "ada", "bob")
    assert stored.withdrawn_at is not None
    assert stored.withdrawn_at > stored.created_at


def test_a_withdrawn_number_is_never_used_again_and_its_start_may_be(
    conn: psycopg.Connection,
) -> None:
    withdrawn = add_ahead(conn, 30)
    withdraw_version(conn, 2, withdrawn_by="bob")
    earlier = add_ahead(conn, 20)
    again = add_version(
        conn, LOUDER, created_by="ada", effective_from_ms=withdrawn.effective_from_ms
    )
    assert (earlier.version, again.version) == (3, 4)
    assert [version.version for version in read_book(conn).versions] == [1, 3, 4]
    assert read_book(conn).timeline("a").at(again.effective_from_ms // WINDOW_MS).version == 4


def test_a_version_is_withdrawn_only_while_its_start_is_the_lead_ahead(
    conn: psycopg.Connection,
) -> None:
    add_ahead(conn, 20)
    next_start_ms = (now_ms(conn) // WINDOW_MS + 1) * WINDOW_MS
    move_start(conn, 2, next_start_ms + LEAD_MS - WINDOW_MS)
    with pytest.raises(SettingsError, match="begins in less than 10 minutes"):
        withdraw_version(conn, 2, withdrawn_by="bob")
    move_start(conn, 2, next_start_ms - WINDOW_MS)
    with pytest.raises(SettingsError, match="has begun"):
        withdraw_version(conn, 2, withdrawn_by="bob")
    with pytest.raises(SettingsError, match="version 1 has begun"):
        withdraw_version(conn, 1, withdrawn_by="bob")
    assert [known.version for known in read_book(conn).versions] == [1, 2]


def test_a_version_that_others_are_built_on_is_withdrawn_after_them(
    conn: psycopg.Connection,
) -> None:
    add_ahead(conn, 20)
    add_ahead(conn, 30)
    with pytest.raises(SettingsError, match="version 3 is built on version 2: withdraw that first"):
        withdraw_version(conn, 2, withdrawn_by="bob")
    assert withdraw_version(conn, 3, withdrawn_by="bob").version == 2
    assert withdraw_version(conn, 2, withdrawn_by="bob").version == 1


def test_a_version_is_withdrawn_once(conn: psycopg.Connection) -> None:
    add_ahead(conn, 20)
    withdraw_version(conn, 2, withdrawn_by="bob")
    with pytest.raises(SettingsError, match="withdrawn already, by bob"):
        withdraw_version(conn, 2, withdrawn_by="eve")
    with pytest.raises(NotFound, match="there is no version 999999999"):
        withdraw_version(conn, 999_999_999, withdrawn_by="eve")


def test_two_who_withdraw_at_once_withdraw_once(
    conn: psycopg.Connection, database_url: str
) -> None:
    add_ahead(conn, 20)

    def withdraw(name: str) -> bool:
        with connect(database_url, name="test", autocommit=True) as connection:
            try:
                withdraw_version(connection, 2, withdrawn_by=name)
            except SettingsError:
                return False
            return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(withdraw, "abcd")) == [False, False, False, True]


def test_a_start_not_after_the_newest_version_says_what_to_do(conn: psycopg.Connection) -> None:
    newest = add_ahead(conn, 30)
    for start_ms in (newest.effective_from_ms, newest.effective_from_ms - WINDOW_MS):
        with pytest.raises(SettingsError, match=r"version 2 starts 20.* withdraw that one first"):
            add_version(conn, LOUDER, created_by="bob", effective_from_ms=start_ms)


def test_a_newest_version_in_30_days_leaves_no_room_for_one_without_a_start(
    conn: psycopg.Connection,
) -> None:
    newest = add_ahead(conn, 20)
    move_start(conn, 2, newest.effective_from_ms + 30 * 86_400_000)
    with pytest.raises(SettingsError, match=r"version 2 starts 20.* withdraw that one first"):
        add_version(conn, LOUDER, created_by="bob")


def test_a_pattern_that_is_given_twice_is_refused(conn: psycopg.Connection) -> None:
    once = SettingsDocument().with_change("batch-*", {"minimum_count": Raw(b"50")})
    twice = SettingsDocument({}, [*once.overrides, *once.overrides])
    with pytest.raises(SettingsError, match="a pattern is given twice"):
        add_version(conn, twice, created_by="ada")


def test_a_change_waits_for_another_only_for_seconds(
    conn: psycopg.Connection, database_url: str
) -> None:
    with connect(database_url, name="test") as other:
        lock_versions(other)
        with pytest.raises(StorageError, match="somebody else is changing"):
            add_ahead(conn, 20)
    assert add_ahead(conn, 20).version == 2


def test_no_reading_from_before_a_withdrawal_judges_a_window_of_the_version(
    conn: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made while its start is 20 minutes ahead, and withdrawn when it is just the lead.
    version = add_ahead(conn, 20)
    books = LiveBooks(load_settings({"DATABASE_URL": database_url}), Event())
    before = books.book_for(0)
    assert before.newest == 2
    withdraw_version(conn, 2, withdrawn_by="bob")
    before.read_ms = version.effective_from_ms - LEAD_MS
    monkeypatch.setattr("flows.books._PRESSING_S", 0.0)
    assert books.book_for(version.effective_from_ms).versions == before.versions[:1]
