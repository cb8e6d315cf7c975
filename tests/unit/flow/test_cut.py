"""Records are cut into runs as the arrival order of each service commands, and in no other way."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flows.cut import cut_runs
from flows.rows import Run
from tocsin.batches import RecordBatch
from tocsin.detection import WINDOW_MS

IDLE_MS = 300_000
Row = tuple[str, int, str, int]  # service, window, level, arrival in ms


def batch_of(rows: list[Row]) -> RecordBatch:
    batch = RecordBatch.empty(incarnation=1, partition=0, next_offset=len(rows))
    for offset, (service_id, window, level, arrival_ms) in enumerate(rows):
        batch.service_id.append(service_id)
        batch.event_us.append(window * WINDOW_MS * 1000 + offset)
        batch.level.append(level)
        batch.arrival_ms.append(arrival_ms)
        batch.offset.append(offset)
    return batch


def cut(rows: list[Row]) -> dict[str, list[Run]]:
    return {service.service_id: service.runs for service in cut_runs(batch_of(rows), IDLE_MS)}


def test_records_of_one_window_are_one_run() -> None:
    rows = [("a", 7, "INFO", 10), ("a", 7, "ERROR", 20), ("a", 7, "FATAL", 30)]
    assert cut(rows) == {"a": [Run(7, 3, 2, 10, 30, 2)]}


def test_other_services_in_between_do_not_end_a_run() -> None:
    rows = [("a", 7, "INFO", 10), ("b", 3, "ERROR", 20), ("a", 7, "WARN", 30)]
    assert cut(rows) == {"a": [Run(7, 2, 0, 10, 30, 2)], "b": [Run(3, 1, 1, 20, 20, 1)]}


def test_another_window_of_the_service_ends_a_run_and_runs_are_never_merged_across_it() -> None:
    rows = [("a", 7, "ERROR", 10), ("a", 8, "ERROR", 20), ("a", 7, "ERROR", 30)]
    assert cut(rows) == {
        "a": [Run(7, 1, 1, 10, 10, 0), Run(8, 1, 1, 20, 20, 1), Run(7, 1, 1, 30, 30, 2)]
    }


def test_silence_longer_than_idle_ends_a_run_and_silence_as_long_does_not() -> None:
    rows = [("a", 7, "INFO", 0), ("a", 7, "INFO", IDLE_MS), ("a", 7, "INFO", 2 * IDLE_MS + 1)]
    assert cut(rows) == {
        "a": [Run(7, 2, 0, 0, IDLE_MS, 1), Run(7, 1, 0, 2 * IDLE_MS + 1, 2 * IDLE_MS + 1, 2)]
    }


def test_time_before_the_epoch_is_floored() -> None:
    batch = batch_of([("a", 0, "INFO", 0)])
    batch.event_us = [-1]
    [service] = cut_runs(batch, IDLE_MS)
    assert service.runs[0].window == -1


rows_in_arrival_order = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 2),
        st.sampled_from(["INFO", "ERROR"]),
        st.integers(0, 400_000),
    )
).map(lambda rows: sorted(rows, key=lambda row: row[3]))


@given(rows_in_arrival_order)
def test_runs_keep_every_record_and_the_order_of_each_service(rows: list[Row]) -> None:
    for service_id, runs in cut(rows).items():
        own = [row for row in rows if row[0] == service_id]
        assert [window for run in runs for window in [run.window] * run.total] == [
            window for _, window, _, _ in own
        ]
        assert sum(run.errors for run in runs) == sum(level == "ERROR" for _, _, level, _ in own)
        for older, newer in pairwise(runs):
            gap_ms = newer.first_arrival_ms - older.last_arrival_ms
            assert older.window != newer.window or gap_ms > IDLE_MS
