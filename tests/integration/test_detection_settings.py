"""Versions of the detection settings in the database: in order, in time, one after the other."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from msgspec import Raw

from flows.books import LiveBooks
from sql.connect import connect
from sql.detection_settings import add_version, read_book
from tocsin.detection import WINDOW_MS, DetectionSettings
from tocsin.errors import SettingsError
from tocsin.settings import load_settings
from tocsin.settings_versions import LEAD_MS, SettingsDocument

LOUDER = SettingsDocument({"minimum_count": Raw(b"50")})


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url, name="test", autocommit=True) as connection:
        yield connection


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
    books = LiveBooks(load_settings({"DATABASE_URL": database_url}))
    version = add_version(conn, LOUDER, created_by="ada")
    assert books.book_for(0).newest == 1
    monkeypatch.setattr("flows.books._PRESSING_S", 0.0)
    assert books.book_for(version.effective_from_ms).newest == version.version


def test_live_books_go_on_with_what_they_know_while_the_database_is_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = LiveBooks(load_settings({"DATABASE_URL": database_url}))
    monkeypatch.setattr("flows.books._PRESSING_S", 0.0)
    monkeypatch.setattr(books, "_url", "postgresql://tocsin@127.0.0.1:1/tocsin")
    assert books.book_for(2**50).newest == 1
