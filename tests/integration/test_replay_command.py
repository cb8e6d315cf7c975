"""`tocsin replay` as a person runs it: what arrives, where, and when."""

import time

import pytest

from flows.backtest import backtest_topic
from flows.candidates import default_candidate
from flows.course import Course
from flows.replayed import Replay
from flows.topic_range import Asked
from tests.integration.conftest import Line
from tests.integration.replays import UniqueName, ago_ms, odd_records, sent, target
from tests.integration.topics import Kept, fill, in_partition, kept, make_topic
from tests.integration.wire import event_ms, wire
from tocsin.detection import IncidentKind
from tocsin.settings import Settings

__all__ = ["target"]

pytestmark = pytest.mark.producers_time


def test_key_value_headers_partition_and_order_are_kept(line: Line, target: Settings) -> None:
    records = odd_records(ago_ms(60))
    fill(line.settings, records)
    out = sent(line, "--to-topic", target.topic, "--speed", "max")
    assert out.startswith(f"200 records sent to {target.topic} and confirmed, in ")
    assert len(out.splitlines()) == 1
    arrived = kept(target, 200)
    for partition in range(4):
        assert in_partition(arrived, partition) == in_partition(records, partition)


def test_order_of_arrival_is_kept_across_partitions(line: Line, unique_name: UniqueName) -> None:
    """In one partition all of them stand in the order in which they arrived in four."""
    first_ms = ago_ms(60)
    values = [str(number).encode() for number in range(400)]
    fill(
        line.settings,
        [
            Kept(number * 7 % 4, b"one", value, (), first_ms + number)
            for number, value in enumerate(values)
        ],
    )
    single = make_topic(line.settings, unique_name("single"), partitions=1)
    sent(line, "--to-topic", single.topic, "--speed", "max")
    assert [record.value for record in kept(single, 400)] == values


def test_key_decides_where_the_target_has_other_partitions(
    line: Line, unique_name: UniqueName
) -> None:
    keys = [f"service-{number}".encode() for number in range(50)]
    fill(line.settings, [Kept(number % 4, key, b"v", ()) for number, key in enumerate(keys)])
    three = make_topic(line.settings, unique_name("three"), partitions=3)
    by_producers = make_topic(line.settings, unique_name("three"), partitions=3)
    fill(by_producers, [Kept(-1, key, b"v", ()) for key in keys])
    sent(line, "--to-topic", three.topic, "--speed", "max")
    placed = {record.key: record.partition for record in kept(three, 50)}
    assert placed == {record.key: record.partition for record in kept(by_producers, 50)}
    assert len(set(placed.values())) == 3


def test_gaps_between_arrivals_are_divided_by_the_speed(line: Line, target: Settings) -> None:
    first_ms = ago_ms(60)
    gaps_ms = [0, 5_000, 5_000, 12_000, 20_000, 30_000]
    fill(
        line.settings,
        [
            Kept(number % 4, None, str(number).encode(), (), first_ms + gap_ms)
            for number, gap_ms in enumerate(gaps_ms)
        ],
    )
    began_ms = int(time.time() * 1000)
    sent(line, "--to-topic", target.topic, "--speed", "10x")
    arrivals = {record.value: record.arrival_ms for record in kept(target, 6)}
    first_came_ms = arrivals[b"0"]
    for number, gap_ms in enumerate(gaps_ms):
        came_ms = arrivals[str(number).encode()]
        # The first may be late, but is not sooner than the command; the machine may be busy.
        assert began_ms + gap_ms / 10 <= came_ms <= first_came_ms + gap_ms / 10 + 5_000


def test_range_is_what_arrived_from_a_time_up_to_another_or_its_offsets(
    line: Line, target: Settings
) -> None:
    first_ms = ago_ms(60)
    values = [str(number).encode() for number in range(30)]
    fill(
        line.settings,
        [Kept(1, None, value, (), first_ms + 1_000 * n) for n, value in enumerate(values)],
    )
    to = ("--to-topic", target.topic, "--speed", "max")
    span = [time.strftime("%FT%TZ", time.gmtime(first_ms / 1000 + after)) for after in (10, 20)]
    sent(line, *to, "--from", span[0], "--to", span[1])
    assert [record.value for record in kept(target, 10)] == values[10:20]
    sent(line, *to, "--offsets", "1:25-30")
    assert [record.value for record in kept(target, 15)][10:] == values[25:]


def test_time_stamps_are_shifted_by_as_much_as_arrivals_move(line: Line, target: Settings) -> None:
    first_ms = ago_ms(600)
    lateness_ms = [0, 1_500, 120_000, 0]
    records = [
        wire(first_ms + 1_000 * number - late_ms) for number, late_ms in enumerate(lateness_ms)
    ]
    odd = b'{"timestamp": "never"}'
    fill(
        line.settings,
        [
            Kept(0, None, value, (), first_ms + 1_000 * number)
            for number, value in enumerate([*records, odd])
        ],
    )
    sent(line, "--to-topic", target.topic, "--speed", "2x", "--shift-to-now")
    *moved, last = kept(target, 5)
    assert last.value == odd
    for record, late_ms in zip(moved, lateness_ms, strict=True):
        # Due times are stamped; a record arrives a moment after it is due.
        assert -50 <= record.arrival_ms - event_ms(record.value) - late_ms <= 5_000


def test_replayed_topic_is_judged_to_the_same_incidents(line: Line, target: Settings) -> None:
    """Windows are made of event times and order: all is the same but when things were told."""
    start_ms = ago_ms(120) // 60_000 * 60_000
    quiet = [(15_000 * n, "INFO" if n % 4 else "ERROR") for n in range(40 * 4)]
    loud = [(40 * 60_000 + 1_000 * n, "ERROR") for n in range(200)]
    fill(
        line.settings,
        [
            Kept(
                partition,
                service.encode(),
                wire(start_ms + at_ms, level, service),
                (),
                start_ms + at_ms + 500,
            )
            for at_ms, level in [*quiet, *loud]
            for partition, service in enumerate(["checkout", "search"])
            if level == "INFO" or partition == 0 or at_ms % 2_000 == 0
        ],
    )
    sent(line, "--to-topic", target.topic, "--speed", "max")
    first, again = (
        backtest_topic(settings, Asked(), [default_candidate()], Course())
        for settings in (line.settings, target)
    )
    assert (again.records, again.dead_letters) == (first.records, 0)
    assert again.series == first.series

    assert told(again) == told(first)
    assert {service for service, *_ in told(first)} == {"checkout", "search"}


def told(replay: Replay) -> list[tuple[object, ...]]:
    """Return what the incidents of errors are, but for when they were told."""
    return [
        (
            row.service_id,
            row.incident_id,
            row.window_start_ms,
            row.confirmed_start_ms,
            row.severity,
            row.peak_z,
            row.count,
        )
        for row in replay.incidents[0]
        if row.kind is IncidentKind.ERRORS
    ]
