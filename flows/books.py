"""Where the live flow takes the detection settings from: the database, read again and again."""

import threading
import time

import psycopg
import structlog

from sql.connect import connect
from sql.detection_settings import read_book
from tocsin.errors import StorageError
from tocsin.settings import Settings
from tocsin.settings_versions import LEAD_MS, SettingsBook

log = structlog.get_logger()

_REFRESH_S = 30.0
_PRESSING_S = 1.0
# A change looks at the clock up to 40 s before it is committed (`bound_transaction`); a reading
# between the two does not see it.
_MARGIN_MS = 60_000


class LiveBooks:
    """The newest reading of the settings' versions.

    A version is made and withdrawn at least LEAD_MS before it starts, so which versions judge the
    windows that start up to LEAD_MS after a reading can't change any more. Windows that start later
    ask for a new reading. So a reading that has a version which was withdrawn after it does no
    harm: all of that version's windows start too late for it.
    """

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._url = settings.database_url
        self._patience_s = settings.database_patience_s
        self._stopping = stopping
        self._lock = threading.Lock()
        self._book = self._read()
        self._tried_at = time.monotonic()

    def book_for(self, window_start_ms: int) -> SettingsBook:
        """Return a book that knows every version which may judge a window."""
        pressing = window_start_ms > self._book.read_ms + LEAD_MS - _MARGIN_MS
        if time.monotonic() - self._tried_at > (_PRESSING_S if pressing else _REFRESH_S):
            self._refresh()
        return self._book

    def _refresh(self) -> None:
        with self._lock:
            try:
                book = self._read()
            except (psycopg.Error, StorageError) as error:
                log.warning(
                    "cannot read the detection settings", problem=" ".join(str(error).split())
                )
            else:
                if book.versions != self._book.versions:
                    log.info("detection settings changed", version=book.newest)
                    self._book = book
                else:
                    self._book.read_ms = book.read_ms
            self._tried_at = time.monotonic()

    def _read(self) -> SettingsBook:
        with connect(
            self._url,
            name="flow-settings",
            autocommit=True,
            patience_s=self._patience_s,
            stopping=self._stopping,
        ) as conn:
            return read_book(conn)
