"""Ids are remembered for ten minutes, and of the newest only so many as there is room for."""

from flows.repeats import RepeatLogic, nothing_seen
from tocsin.batches import RecordBatch


def batch(*ids: str | None, arrival_ms: int = 0) -> RecordBatch:
    made = RecordBatch.empty(1, 0, len(ids))
    for offset, id_ in enumerate(ids):
        made.event_us.append(arrival_ms * 1000)
        made.service_id.append("checkout")
        made.level.append("INFO")
        made.message.append("")
        made.metadata.append(None)
        made.id.append(id_)
        made.arrival_ms.append(arrival_ms)
        made.offset.append(offset)
    made.weight = 400 * len(ids)
    return made


def kept(logic: RepeatLogic, sent: RecordBatch) -> list[str | None]:
    [left], _ = logic.on_batch([sent])
    assert left.weight == sent.weight, "the room that it took is given back whole"
    return left.id


def test_only_so_many_ids_are_remembered_and_the_newest_of_them() -> None:
    logic = RepeatLogic(nothing_seen, 1_000)
    for first in range(0, 10_000, 500):
        ids = [str(number) for number in range(first, first + 500)]
        assert kept(logic, batch(*ids)) == ids
    assert logic._arrivals is not None
    assert len(logic._arrivals) == 1_000
    assert kept(logic, batch("9000", "9999", None)) == [None]
    assert kept(logic, batch("8999")) == ["8999"]


def test_what_was_seen_before_the_start_counts_towards_the_room() -> None:
    logic = RepeatLogic(lambda _batch: [("checkout", str(number), 0) for number in range(3)], 3)
    assert kept(logic, batch("0", "3")) == ["3"]
    assert kept(logic, batch("1", "2", "0")) == ["0"]


def test_ids_that_are_older_than_ten_minutes_take_no_room() -> None:
    logic = RepeatLogic(nothing_seen, 1_000)
    kept(logic, batch("a", "b"))
    assert kept(logic, batch("c", arrival_ms=600_001)) == ["c"]
    assert list(logic._arrivals or {}) == ["checkout\0c"]
