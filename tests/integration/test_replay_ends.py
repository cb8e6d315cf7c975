"""`tocsin replay` that does not reach its end: what is refused, and what is stopped."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from stack.broker import Broker
from stack.processes import Process
from stack.waiting import wait_until
from tests.integration.conftest import Line
from tests.integration.replays import (
    UniqueName,
    ago_ms,
    command,
    failure,
    odd_records,
    sent,
    target,
)
from tests.integration.topics import Kept, fill, kept, make_topic
from tests.integration.wire import wire
from tocsin.cli import app
from tocsin.errors import SettingsError
from tocsin.settings import Settings
from tocsin.topics import admin_client, describe_topic

__all__ = ["target"]

pytestmark = pytest.mark.producers_time


def test_topic_that_is_read_is_refused_by_whatever_address(line: Line) -> None:
    fill(line.settings, odd_records(ago_ms(60)))
    port = line.settings.kafka_bootstrap.rpartition(":")[2]
    for words in ((), ("--to-bootstrap", f"localhost:{port}"), ("--into-live", "--create")):
        told = failure(line, "--to-topic", line.settings.topic, *words, "--speed", "max")
        assert told.endswith(
            f"{line.settings.topic} is the very topic that is read: give another one"
        )
    kept(line.settings, 200)


def test_topics_of_the_live_flow_take_a_replay_only_when_that_is_said(
    line: Line, target: Settings
) -> None:
    fill(target, [Kept(0, b"checkout", wire(ago_ms(1)), ())])
    live = line.settings
    for name in (live.topic, live.dead_letter_topic, live.incidents_topic):
        told = failure(line, "--topic", target.topic, "--to-topic", name)
        assert f"--to-topic: {name} belongs to the live flow" in told
    done = command(line, "--topic", target.topic, "--to-topic", live.topic, "--into-live")
    assert done.returncode == 0
    assert done.stderr == (
        f"tocsin: whoever reads {live.topic} takes these records for new ones: they are stored,"
        " judged and told\n"
    )
    kept(live, 1)


def test_topic_of_the_same_name_on_another_broker_is_another_topic(
    line: Line, own_broker: Broker
) -> None:
    fill(line.settings, odd_records(ago_ms(60)))
    elsewhere = Settings(kafka_bootstrap=own_broker.bootstrap)
    elsewhere = make_topic(elsewhere, line.settings.topic, partitions=4)
    to = ("--to-topic", elsewhere.topic, "--to-bootstrap", own_broker.bootstrap)
    sent(line, *to, "--speed", "max")
    kept(elsewhere, 200)


def test_topic_is_made_like_the_one_that_is_read_when_that_is_asked_for(
    line: Line, unique_name: UniqueName
) -> None:
    fill(line.settings, odd_records(ago_ms(60)))
    name = unique_name("new")
    to = ("--to-topic", name, "--speed", "max")
    place = line.settings.kafka_bootstrap
    assert f"there is no topic {name} at {place}: make it, or give --create" in failure(line, *to)
    sent(line, *to, "--create")
    assert describe_topic(line.settings, name)[1] == [0, 1, 2, 3]
    sent(line, *to, "--create")


def test_what_cannot_be_replayed_is_said_in_one_line(line: Line, target: Settings) -> None:
    to = ("--to-topic", target.topic)
    assert failure(line, *to).endswith(f"{line.settings.topic} has no records at all")
    assert "there is no topic nowhere" in failure(line, *to, "--topic", "nowhere")
    fill(line.settings, odd_records(ago_ms(60)))
    told = failure(line, *to, "--from", "2090-01-01T00:00:00Z")
    assert "has no records in that range: what it has arrived from" in told
    assert "partition 0 ends at offset 50, not at 51" in failure(line, *to, "--offsets", "0:0-51")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--speed", "0x"], "--speed: '0x' is no speed, give one as 1x, 10x, 0.5x or max"),
        (["--speed", "fast"], "--speed: 'fast' is no speed"),
        (["--speed", "-2x"], "--speed: '-2x' is no speed"),
        (["--from", "yesterday"], "--from: 'yesterday' is no time"),
        (["--offsets", "0:0-1", "--to", "2026-03-02T08:00:00Z"], "--offsets: give either"),
        (["--topic", "a b"], "--topic: 'a b' is no topic's name"),
        (["--to-bootstrap", "nowhere"], "--to-bootstrap: 'nowhere' is no HOST:PORT"),
    ],
)
def test_words_that_make_no_sense_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        app(["replay", "--to-topic", "staging", *words], standalone_mode=False)
    assert str(raised.value).startswith(told)


def test_range_that_retention_has_cut_is_refused_with_what_is_missing(full_line: Line) -> None:
    first_ms = ago_ms(60)
    fill(full_line.settings, [Kept(0, None, b"v", (), first_ms + 1_000 * n) for n in range(100)])
    place = TopicPartition(full_line.settings.topic, 0, 50)
    admin = admin_client(full_line.settings)
    admin.delete_records([place])[place].result()
    told = failure(full_line, "--to-topic", "staging", "--offsets", "0:7-100")
    assert "43 records of partition 0 are missing: retention has removed" in told
    begin = time.strftime("%FT%TZ", time.gmtime(first_ms / 1000 + 10))
    told = failure(full_line, "--to-topic", "staging", "--from", begin)
    assert "up to 50 records of partition 0 are missing" in told
    assert told.endswith("; begin there")


def test_record_that_the_broker_refuses_is_counted_and_the_rest_is_sent(
    full_line: Line, unique_name: UniqueName
) -> None:
    first_ms = ago_ms(60)
    values = [b"small-%d" % number * 10 for number in range(500)]
    values[250] = os.urandom(5_000)
    fill(
        full_line.settings,
        [Kept(0, None, value, (), first_ms + n) for n, value in enumerate(values)],
    )
    narrow = make_topic(
        full_line.settings,
        unique_name("narrow"),
        partitions=4,
        config={"max.message.bytes": "2000"},
    )
    done = command(full_line, "--to-topic", narrow.topic, "--speed", "max")
    assert done.returncode == 1
    assert f"499 records sent to {narrow.topic} and confirmed, 1 refused, in " in done.stdout
    [told] = done.stderr.splitlines()
    assert told.startswith("tocsin: the broker refused 1 (Broker: Message size too large), first")
    assert told.endswith("first 0:250")
    assert [record.value for record in kept(narrow, 499)] == values[:250] + values[251:]


@pytest.mark.parametrize("sent_signal", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_it_and_what_was_sent_is_told(
    line: Line, target: Settings, tmp_path: Path, sent_signal: signal.Signals
) -> None:
    first_ms = ago_ms(600)
    at_once = [Kept(0, None, b"%d" % number, (), first_ms) for number in range(20)]
    in_an_hour = [Kept(0, None, b"late", (), first_ms + 3_600_000)]
    fill(line.settings, [*at_once, *in_an_hour])
    process = started(line, target, tmp_path)
    kept(target, 20)
    process.popen.send_signal(sent_signal)
    assert process.popen.wait(30) == 130
    told = process.log.read_text().splitlines()
    assert told[0].startswith(f"20 records sent to {target.topic} and confirmed, in ")
    assert told[1:] == ["stopped before the end; to go on: --offsets 0:20-21"]
    kept(target, 20)


def test_broker_that_goes_away_is_one_line_and_where_to_go_on(
    line: Line, own_broker: Broker, tmp_path: Path
) -> None:
    first_ms = ago_ms(600)
    records = [
        Kept(0, None, b"%d" % number, (), first_ms + 200 * number) for number in range(3_000)
    ]
    fill(line.settings, records)
    elsewhere = make_topic(Settings(kafka_bootstrap=own_broker.bootstrap), "staging", partitions=4)
    process = started(line, elsewhere, tmp_path, "--to-bootstrap", own_broker.bootstrap)
    wait_for_some(elsewhere)
    own_broker.kill()
    assert process.popen.wait(60) == 1
    told = process.log.read_text().splitlines()
    assert len(told) == 2
    assert f"tocsin: Kafka at {own_broker.bootstrap} has not confirmed " in told[1]
    assert "they may be there all the same; to go on: --offsets 0:" in told[1]
    assert told[1].endswith("-3000")


def test_broker_that_is_away_is_one_line_that_names_who_was_asked(line: Line) -> None:
    fill(line.settings, odd_records(ago_ms(60)))
    told = failure(line, "--to-topic", "staging", "--to-bootstrap", "127.0.0.1:1")
    assert told.startswith("tocsin: Kafka at 127.0.0.1:1 does not answer (")
    assert told.endswith("is it running, and is --to-bootstrap right?")


def started(line: Line, target: Settings, tmp_path: Path, *words: str) -> Process:
    return Process(
        "replay",
        [sys.executable, "-m", "tocsin", "replay", "--to-topic", target.topic, *words],
        log=tmp_path / "replay.log",
        env={**os.environ, **line.environ, "COLUMNS": "200"},
    )


def wait_for_some(settings: Settings) -> None:
    admin, place = admin_client(settings), TopicPartition(settings.topic, 0)

    def some() -> bool:
        asked = admin.list_offsets({place: OffsetSpec.latest()})
        return bool(asked[place].result().offset)

    wait_until(some, "the first records", deadline_s=60)
