"""Whatever comes on the topic is a record or one dead letter, in the table and on its topic."""

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from stack.processes import Process
from stack.waiting import wait_until
from tests.integration.conftest import WAIT_S, Line
from tocsin.topics import admin_client

NOW = datetime.now(timezone.utc)
GOOD = {"timestamp": NOW.isoformat(), "service_id": "checkout", "level": "INFO", "message": "m"}
LARGE = 5_000_000
"""More than a topic takes by default, but for a producer that compresses."""


def wire(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def with_metadata(raw: str) -> bytes:
    return wire(metadata="?").replace(b'"?"', raw.encode())


POISON: dict[str, tuple[bytes | None, str]] = {
    "a tombstone": (None, "record: no value, a tombstone"),
    "empty": (b"", "record: not valid JSON"),
    "blank": (b" \n", "record: not valid JSON"),
    "no JSON": (b"<134>su: failed", "record: not valid JSON"),
    "cut off": (wire()[:-1], "record: not valid JSON"),
    "two records": (wire() * 2, "record: not valid JSON"),
    "no UTF-8": (b"\xff\xfe{", "record: not UTF-8"),
    "UTF-16": (wire().decode().encode("utf-16"), "record: not UTF-8"),
    "a surrogate in UTF-8": (wire(message="?").replace(b"?", b"\xed\xa0\x80"), "not UTF-8"),
    "an array": (b"[" + wire() + b"]", "record: give an object, not a list"),
    "null": (b"null", "record: give an object, not nothing"),
    "a number": (b"1e999999999", "record: number out of range"),
    "no field": (b"{}", "timestamp: missing"),
    "no service": (
        json.dumps({k: v for k, v in GOOD.items() if k != "service_id"}).encode(),
        "service_id: missing",
    ),
    "an unknown field": (wire(color="red"), "color: unknown field"),
    "an unknown field that steers a terminal": (
        wire(**{"\x1b[2J": 1}),
        "\ufffd[2J: unknown field",
    ),
    "a message of a wrong type": (wire(message=7), "message: give text, not a whole number"),
    "a level of null": (wire(level=None), "level: give text, not nothing"),
    "metadata of a wrong type": (wire(metadata=[1]), "metadata: give an object"),
    "an unknown level": (wire(level="LOUD"), "level: unknown level 'LOUD'"),
    "an empty service": (wire(service_id=""), "service_id: give at"),
    "a long service": (wire(service_id="s" * 129), "service_id: give at"),
    "a long id": (wire(id="i" * 129), "id: give at"),
    "a long message": (wire(message="m" * 32_769), "message: 32769 bytes"),
    "no time": (wire(timestamp="yesterday"), "timestamp: give a time"),
    "a time of nowhere": (
        wire(timestamp=NOW.replace(tzinfo=None).isoformat()),
        "needs a time zone",
    ),
    "the future": (wire(timestamp=(NOW + timedelta(days=1)).isoformat()), "5 minutes ahead"),
    "the past": (wire(timestamp=(NOW - timedelta(days=400)).isoformat()), "366 days before"),
    "the year 0": (wire(timestamp="0000-01-01T00:00:00Z"), "timestamp: "),
    "the year 1": (wire(timestamp="0001-01-01T00:00:00+12:00"), "timestamp: outside the years"),
    "a NUL in the message": (wire(message="\0"), "record: holds a NUL character"),
    "a NUL in the service": (wire(service_id="a\0"), "record: holds a NUL character"),
    "a NUL deep in the metadata": (wire(metadata={"a": ["\0"]}), "record: holds a NUL character"),
    "a NUL behind backslashes": (wire(message="\\\\\0"), "record: holds a NUL character"),
    "a bare NUL": (wire(message="?").replace(b"?", b"\0"), "record: not valid JSON"),
    "a lone surrogate": (wire(message="\ud800"), "record: not valid JSON"),
    "a lone surrogate in the metadata": (wire(metadata={"\udc00": 1}), "record: not valid JSON"),
    "depth": (with_metadata('{"a":' + "[" * 1000 + "]" * 1000 + "}"), "record: nested too deeply"),
    "much depth": (with_metadata('{"a":' + "[" * 100_000), "record: nested too deeply"),
    "an exponent": (with_metadata('{"n":1e99999}'), "metadata: a number is beyond range"),
    "a small exponent": (with_metadata('{"n":1e-99999}'), "metadata: a number is beyond range"),
    "an endless exponent": (with_metadata('{"n":1e1' + "0" * 30 + "}"), "beyond range"),
    "many digits": (with_metadata('{"n":' + "1" * 10_001 + "}"), "beyond range"),
    "many small digits": (with_metadata('{"n":1.' + "1" * 9000 + "e-9000}"), "beyond range"),
    "not a number": (with_metadata('{"n":NaN}'), "record: not valid JSON"),
    "more than is taken": (wire(metadata={"x": "y" * 300_000}), "record: 300"),
    "more than a topic takes": (wire(metadata={"x": "y" * LARGE}), "record: 5000"),
}


class Letter:
    """A message on the topic of dead letters."""

    def __init__(self, message: Message) -> None:
        headers = cast("list[tuple[str, bytes]]", message.headers())
        self.headers = {name: value.decode() for name, value in headers}
        self.key = message.key()
        self.value = message.value() or b""
        self.place = (int(self.headers["partition"]), int(self.headers["offset"]))


def letters_on_topic(line: Line, expected: int) -> list[Letter]:
    """Read the topic of dead letters until so many different ones were on it."""
    consumer = Consumer({"bootstrap.servers": line.settings.kafka_bootstrap, "group.id": "test"})
    consumer.assign([TopicPartition(line.settings.dead_letter_topic, 0, 0)])
    found: dict[tuple[int, int], Letter] = {}

    def all_found() -> bool:
        for message in consumer.consume(10_000, timeout=0.2):
            assert message.error() is None
            letter = Letter(message)
            found[letter.place] = letter
        return len(found) >= expected

    try:
        wait_until(all_found, f"{expected} letters on their topic", deadline_s=WAIT_S)
    finally:
        consumer.close()
    return list(found.values())


def send_poison(line: Line, key: bytes | None) -> None:
    """Send a good record, each poison in turn, and a good record: all to one partition."""
    producer = Producer(
        {
            "bootstrap.servers": line.settings.kafka_bootstrap,
            "message.max.bytes": 2 * LARGE,
            "compression.type": "lz4",
        }
    )
    for value in (wire(), *(value for value, _ in POISON.values()), wire()):
        producer.produce(line.settings.topic, value, key, partition=0)
    assert producer.flush(WAIT_S) == 0


@pytest.mark.parametrize("key", [b"checkout", b"", None, b"\xff\0\x1b[2J", b"k" * 100_000])
def test_each_poison_is_one_letter_in_the_table_and_on_the_topic(
    line: Line, key: bytes | None
) -> None:
    flow = line.start_flow()
    send_poison(line, key)
    line.wait_for_logs(2, flow)
    rows = line.query(
        'SELECT raw, reason, key, topic, incarnation, partition, "offset" FROM dead_letters'
        ' ORDER BY "offset"'
    )
    assert [row[6] for row in rows] == list(range(1, len(POISON) + 1))
    for (raw, reason, kept_key, *place), (name, (value, expected)) in zip(
        rows, POISON.items(), strict=True
    ):
        assert raw == (value or b""), name
        assert expected in reason, name
        assert kept_key == key, name
        assert place[:3] == [line.settings.topic, 1, 0], name
    announced = {letter.place: letter for letter in letters_on_topic(line, len(rows))}
    for raw, reason, _, topic, _, partition, offset in rows:
        letter = announced[partition, offset]
        assert letter.headers["reason"] == reason
        assert letter.headers["bytes"] == str(len(raw))
        assert letter.headers["topic"] == topic
        assert letter.value == raw[: 900 * 1024]
        assert letter.key == (key and key[: 16 * 1024])
    assert flow.stop() == 0


def small_dead_letter_topic(line: Line, max_bytes: int) -> None:
    """Make the topic of dead letters anew, one that takes less."""
    admin, topic = admin_client(line.settings), line.settings.dead_letter_topic
    admin.delete_topics([topic])[topic].result()
    new = NewTopic(topic, 1, 1, config={"max.message.bytes": str(max_bytes)})
    admin.create_topics([new])[topic].result()


@pytest.mark.parametrize("max_bytes", [20_000, 100])
def test_letter_that_its_topic_finds_too_large_is_cut_off_and_blocks_nothing(
    full_line: Line, max_bytes: int
) -> None:
    small_dead_letter_topic(full_line, max_bytes)
    flow = full_line.start_flow()
    send_poison(full_line, b"checkout")
    full_line.wait_for_logs(2, flow)
    kept = full_line.query('SELECT raw, reason FROM dead_letters ORDER BY "offset"')
    assert [raw for raw, _ in kept] == [value or b"" for value, _ in POISON.values()]
    if max_bytes > 100:  # which is less than the headers alone
        announced = {letter.place[1]: letter for letter in letters_on_topic(full_line, len(kept))}
        for offset, (raw, reason) in enumerate(kept, 1):
            letter = announced[offset]
            assert (letter.headers["reason"], letter.headers["bytes"]) == (reason, str(len(raw)))
            assert letter.value == raw[: len(letter.value)]
            assert len(letter.value) == len(raw) or len(raw) > 10_000
    assert flow.stop() == 0


FLOOD = 100_000


def resident_mib(flow: Process) -> float:
    """Return how much memory the flow has, in MiB."""
    status = Path(f"/proc/{flow.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+([0-9]+) kB", status)
    assert found
    return int(found[1]) / 1024


def test_flood_of_poison_is_stored_whole_in_flat_memory(line: Line) -> None:
    flow = line.start_flow()
    poison = [wire(level="LOUD"), b"\xff" * 200, b"{}", wire(message=7)]

    def flood(count: int) -> float:
        """Send so many and return the flow's memory when they are stored."""
        all_stored = line.count("dead_letters") + count
        for number in range(count):
            line.send_raw(poison[number % len(poison)], key=b"checkout", partition=number % 4)
        line.flush()
        line.wait_for(lambda: line.count("dead_letters") >= all_stored, "the flood is stored", flow)
        return resident_mib(flow)

    # The first one fills what is bounded: queues, pools, the broker's client.
    full = flood(FLOOD)
    assert flood(FLOOD) - full < 48
    line.send(GOOD)
    line.wait_for_logs(1, flow)
    assert line.count("dead_letters") == 2 * FLOOD
    letters_on_topic(line, 2 * FLOOD)
