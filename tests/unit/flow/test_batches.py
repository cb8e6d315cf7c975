"""A batch is cut by offset without a record lost or doubled."""

import string

from hypothesis import given
from hypothesis import strategies as st

from tocsin.batches import DeadLetter, RecordBatch


def batch_of(offsets: list[int], dead: list[int]) -> RecordBatch:
    names = [string.ascii_lowercase[offset % 26] for offset in offsets]
    return RecordBatch(
        incarnation=1,
        partition=0,
        next_offset=30,
        event_us=list(offsets),
        service_id=list(names),
        level=["INFO"] * len(offsets),
        message=list(names),
        metadata=[None] * len(offsets),
        id=list(names),
        arrival_ms=list(offsets),
        offset=list(offsets),
        dead_letters=[DeadLetter(0, offset, 0, "r", None, b"") for offset in dead],
    )


@given(st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)), st.integers(0, 31))
def test_rest_of_a_batch_is_what_lies_at_or_past_the_offset(
    offsets: set[int], dead: set[int], position: int
) -> None:
    rest = batch_of(sorted(offsets), sorted(dead - offsets)).from_offset(position)
    kept = sorted(offset for offset in offsets if offset >= position)
    assert rest == batch_of(kept, sorted(o for o in dead - offsets if o >= position))


@given(st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)), st.integers(0, 31))
def test_rest_of_a_batch_is_laid_out_only_where_it_is_all_of_it(
    offsets: set[int], dead: set[int], position: int
) -> None:
    batch = batch_of(sorted(offsets), sorted(dead - offsets))
    batch.csv = b"all of it"
    is_all = min(offsets | dead, default=position) >= position
    assert batch.from_offset(position).csv == (b"all of it" if is_all else b"")


def test_rows_of_a_batch_are_a_batch_without_dead_letters() -> None:
    assert batch_of([1, 2, 3, 4], [5]).rows(1, 3) == batch_of([2, 3], [])
