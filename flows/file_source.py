"""Bytewax source of a backtest: records of files, in the order in which they arrived."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bytewax.inputs import FixedPartitionedSource

from flows.course import Course
from flows.file_rows import Row, read_rows
from flows.table_source import ReadingPart
from flows.wording import moment
from tocsin.batches import DeadLetter, RecordBatch
from tocsin.detection import WINDOW_MS
from tocsin.errors import FileUnusable
from tocsin.records import AGE_DAYS_MAX, Refused, refuse_untimely

_PART = "files"
SERVICE_CHARS_MAX: Final = 128
_GAP_MS_MAX: Final = AGE_DAYS_MAX * 86_400_000
_END_OF_TIME_MS: Final = 253_402_300_799_999
"""The last moment of the year 9999: no later one has a name."""


class FileSource(FixedPartitionedSource[RecordBatch, None]):
    """Files one after another; from_ms, to_ms: arrivals of the scored range."""

    def __init__(
        self, paths: Sequence[Path], from_ms: int | None, to_ms: int | None, course: Course
    ) -> None:
        self._reading = _Reading(paths, from_ms, to_ms, course).batches()
        self._course = course

    def list_parts(self) -> list[str]:
        """A single part: the order of the files counts."""
        return [_PART]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> ReadingPart:
        """Read from the beginning: there is no state to resume."""
        return ReadingPart(self._reading, self._course)


class _Reading:
    """The batches of files: of one partition and one minute of arrivals each."""

    def __init__(
        self, paths: Sequence[Path], from_ms: int | None, to_ms: int | None, course: Course
    ) -> None:
        self._paths = paths
        self._from_ms = from_ms
        self._to_ms = to_ms
        self._course = course
        self._offset = 0
        self._newest_ms: dict[int, int] = {}

    def batches(self) -> Iterator[RecordBatch]:
        for number, path in enumerate(self._paths):
            for rows, share in read_rows(path):
                self._course.records += len(rows)
                yield from self._cut(path, rows)
                self._course.share = (number + share) / len(self._paths)

    def _cut(self, path: Path, rows: list[Row]) -> Iterator[RecordBatch]:
        growing: dict[int, RecordBatch] = {}
        for row in rows:
            arrival_ms, partition = self._arrival(row), row[4]
            if self._to_ms is not None and arrival_ms >= self._to_ms:
                continue
            batch = growing.get(partition)
            if batch is None or not self._goes_on(path, partition, arrival_ms):
                if batch is not None:
                    yield batch
                batch = growing[partition] = RecordBatch.empty(1, partition, self._offset)
            self._append(path, batch, row, arrival_ms)
        yield from growing.values()

    def _arrival(self, row: Row) -> int:
        event_us, _, _, arrival_ms, partition, _ = row
        if arrival_ms is None or arrival_ms > _END_OF_TIME_MS:
            # In the order of the lines, and never back.
            own_ms = 0 if event_us is None else event_us // 1000
            before_ms = self._course.reached_ms.get(partition, 0)
            return max(before_ms, own_ms if own_ms <= _END_OF_TIME_MS else 0)
        return arrival_ms

    def _goes_on(self, path: Path, partition: int, arrival_ms: int) -> bool:
        """Tell whether a record belongs to the batch of the one before it in its partition."""
        before_ms = self._course.reached_ms[partition]
        if arrival_ms < before_ms:
            raise FileUnusable(
                f"{path}: a record that arrived {moment(arrival_ms)} comes after one of"
                f" {moment(before_ms)}: sort it by arrival"
            )
        begins = self._is_scored(arrival_ms) and partition not in self._course.scored_from
        return before_ms // WINDOW_MS == arrival_ms // WINDOW_MS and not begins

    def _is_scored(self, arrival_ms: int) -> bool:
        return self._from_ms is None or arrival_ms >= self._from_ms

    def _append(self, path: Path, batch: RecordBatch, row: Row, arrival_ms: int) -> None:
        course, partition = self._course, batch.partition
        course.reached_ms[partition] = batch.read_until_ms = arrival_ms
        if self._is_scored(arrival_ms):
            course.scored_from.setdefault(partition, self._offset)
            if course.begin_ms is None and arrival_ms:  # at 0 is what has no time
                course.begin_ms = arrival_ms if self._from_ms is None else self._from_ms
        reason = _reason(row, arrival_ms)
        if reason is not None:
            batch.dead_letters.append(
                DeadLetter(partition, self._offset, arrival_ms, reason, None, b"")
            )
        else:
            self._refuse_gap(path, partition, arrival_ms)
            event_us, service_id, level, _, _, id_ = row
            batch.event_us.append(event_us)  # type: ignore[arg-type]  # nothing is wrong with it
            batch.service_id.append(service_id)  # type: ignore[arg-type]  # nor with it
            batch.level.append(level)  # type: ignore[arg-type]  # nor with it
            batch.message.append("")
            batch.metadata.append(None)
            batch.id.append(id_)
            batch.arrival_ms.append(arrival_ms)
            batch.offset.append(self._offset)
        self._offset += 1
        batch.next_offset = self._offset

    def _refuse_gap(self, path: Path, partition: int, arrival_ms: int) -> None:
        """Refuse a scored record years after the one before it: minutes in between are kept."""
        if not self._is_scored(arrival_ms):
            return
        before_ms = self._newest_ms.get(partition, arrival_ms)
        self._newest_ms[partition] = arrival_ms
        if arrival_ms - before_ms > _GAP_MS_MAX:
            raise FileUnusable(
                f"{path}: a record that arrived {moment(arrival_ms)} comes more than"
                f" {AGE_DAYS_MAX} days after one of {moment(before_ms)}: mend its time, or leave"
                " one of them out by --from or --to"
            )


def _reason(row: Row, arrival_ms: int) -> str | None:
    """Return for what a row breaks the contract, if it does."""
    event_us, service_id, level, *_ = row
    if event_us is None or level is None:
        return "record: no time, or no level that is known"
    if service_id is None or not 1 <= len(service_id) <= SERVICE_CHARS_MAX:
        return f"service_id: give 1 to {SERVICE_CHARS_MAX} characters"
    try:
        refuse_untimely(event_us, arrival_ms)
    except Refused as refused:
        return str(refused)
    return None
