"""The ids that were seen before a start: no more are read than are remembered."""

from datetime import timedelta

from sql import writer
from sql.connect import connect
from sql.recent_ids import read_recent_ids
from tests.unit.flow.test_repeats import batch

NOW_MS = 1_800_000_000_000
TEN_MINUTES = timedelta(minutes=10)


def test_newest_ids_are_read_and_no_more_than_asked_for(database_url: str) -> None:
    stored = batch("old", arrival_ms=NOW_MS - 600_001)
    recent = batch("a", "b", None, "c", arrival_ms=NOW_MS - 60_000)
    recent.offset[:] = [1, 2, 3, 4]
    first = batch("d", arrival_ms=NOW_MS)
    first.offset[:] = [5]
    with connect(database_url, name="tests") as conn:
        writer.copy_logs(conn, [stored, recent])

        def ids(most: int | None) -> list[str]:
            return [id_ for _, id_, _ in read_recent_ids(conn, first, TEN_MINUTES, most=most)]

        assert ids(None) == ids(3) == ["a", "b", "c"]
        assert ids(2) == ["b", "c"]
