"""`tocsin dead-letters list` and `show`, what is audited, and what is said of what cannot be."""

import json
import re
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest

from tests.integration.conftest import Line
from tests.integration.letters import Run, failure, output, put_aside, redriven, run, wire


@pytest.fixture
def tocsin(line: Line) -> Run:
    """Return a function that runs a command of `tocsin dead-letters`."""
    return partial(run, line)


def test_list_shows_the_newest_and_counts_by_reason(line: Line, tocsin: Run) -> None:
    put_aside(line, wire(), wire(), b"", reason="level: unknown level 'LOUD'")
    put_aside(line, b"\x1b[2J", reason="record: not valid [red]JSON[/red]")
    line.execute("UPDATE dead_letters SET key = '\\x1b5b324a'::bytea WHERE \"offset\" = 3")
    line.execute('UPDATE dead_letters SET key = NULL WHERE "offset" = 2')
    line.execute(
        "UPDATE dead_letters SET arrival = arrival - interval '1 hour' WHERE \"offset\" = 0"
    )
    shown = tocsin("list").stdout
    assert b"\x1b" not in shown
    assert b"\\x1b[2J" in shown
    assert b"[red]JSON[/red]" in shown
    assert len(re.findall(rb"1/0/\d", shown)) == 4
    assert re.findall(rb"1/0/\d", tocsin("list", "--limit", "1").stdout) == [b"1/0/3"]
    assert b"3 more: --limit" in tocsin("list", "--limit", "1").stdout
    assert re.findall(rb"1/0/\d", tocsin("list", "--reason", "loud").stdout)[-1] == b"1/0/0"
    assert len(re.findall(rb"1/0/\d", tocsin("list", "--service", "checkout").stdout)) == 2
    recently = (datetime.now(timezone.utc) - timedelta(minutes=30)).isoformat()
    assert b"1/0/0" not in tocsin("list", "--since", recently).stdout
    assert re.findall(rb"1/0/\d", tocsin("list", "--until", recently).stdout) == [b"1/0/0"]
    summary = tocsin("list", "--summary").stdout.decode()
    assert re.search(r"│ 3 +│ 0 .*LOUD", summary)
    objects = [json.loads(text) for text in output(tocsin("list", "--json"))]
    assert [each["id"] for each in objects] == ["1/0/3", "1/0/2", "1/0/1", "1/0/0"]
    assert [each["key"] for each in objects] == ["\x1b[2J", None, "checkout", "checkout"]
    counts = [json.loads(text) for text in output(tocsin("list", "--summary", "--json"))]
    assert [(each["reason"], each["letters"]) for each in counts] == [
        ("level: unknown level 'LOUD'", 3),
        ("record: not valid [red]JSON[/red]", 1),
    ]


def test_show_gives_text_or_hex_and_raw_the_bytes(line: Line, tocsin: Run) -> None:
    put_aside(line, b'{"a":\n"\x1b]0;title\x07"}', b"\xff\x00\xfe", b"y" * 20_000)
    text = tocsin("show", "1/0/0").stdout
    assert b"\x1b" not in text
    assert b'{"a":\n"\\x1b]0;title\\x07"}' in text
    assert b"reason   level: unknown level 'LOUD'" in text
    assert b"hex ff 00fe\n" in tocsin("show", "1/0/1").stdout
    assert tocsin("show", "1/0/1", "--raw").stdout == b"\xff\x00\xfe"
    assert b"10000 bytes more: --raw" in tocsin("show", "1/0/2").stdout


def test_redrive_is_in_the_audit_log_with_the_letters_that_it_sent(
    line: Line, tocsin: Run, tmp_path: Path
) -> None:
    put_aside(line, wire(), b"{", wire(level="LOUD"))
    output(tocsin("redrive", "--all", "--dry-run"))
    output(tocsin("redrive", "--all"))
    output(tocsin("redrive", "--all"))
    file = tmp_path / "corrected.json"
    file.write_bytes(wire())
    output(tocsin("redrive", "1/0/2", "--with", str(file)))
    put_aside(line, wire(), wire())
    output(tocsin("redrive", "--reason", "unknown"))
    rows = line.query("SELECT action, subject, details, actor FROM audit_log ORDER BY seq")
    assert [row[:3] for row in rows] == [
        ("dead_letters.redriven", "1/0/0", {"letters": ["1/0/0"], "corrected": []}),
        ("dead_letters.redriven", "1/0/2", {"letters": ["1/0/2"], "corrected": ["1/0/2"]}),
        ("dead_letters.redriven", None, {"letters": ["1/0/3", "1/0/4"], "corrected": []}),
    ]
    assert all(row[3].startswith("command line (") for row in rows)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["show", "1/0/99"], "no dead letter has the id 1/0/99"),
        (["show", "99999/0/1"], "no dead letter has the id 99999/0/1"),
        (["show", "42"], "'42': not the id of a dead letter, give one as 1/0/42"),
        (["show", "\u0661/0/1"], "not the id of a dead letter"),
        (["redrive", "1/0/99"], "no dead letter has the id 1/0/99"),
        (["redrive"], "give the ids of the letters, or --reason, or --all"),
        (["redrive", "1/0/0", "--all"], "give the ids of the letters, or --reason, or --all"),
        (["redrive", "--all", "--with", "x"], "--with: give the id of the one letter"),
        (["redrive", "1/0/0", "--with", "/nowhere"], "--with: /nowhere: No such file"),
        (["list", "--since", "soon"], "--since: 'soon' is no time"),
    ],
)
def test_what_cannot_be_is_one_line(
    line: Line, tocsin: Run, words: list[str], complaint: str
) -> None:
    put_aside(line, wire())
    said = failure(tocsin(*words))
    assert said.startswith("tocsin: ")
    assert complaint in said
    assert redriven(line) == 0


@pytest.mark.parametrize("words", [["list"], ["show", "1/0/0"], ["redrive", "--all"]])
def test_database_that_is_away_is_one_line(tocsin: Run, words: list[str]) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    assert "cannot be reached" in failure(tocsin(*words, DATABASE_URL=away))


def test_broker_that_is_away_is_one_line_and_leaves_nothing_in_doubt(
    line: Line, tocsin: Run
) -> None:
    put_aside(line, wire())
    said = failure(tocsin("redrive", "--all", KAFKA_BOOTSTRAP="127.0.0.1:1"))
    assert "Kafka at 127.0.0.1:1 does not answer" in said
    assert line.query("SELECT count(redrive_begun_at) FROM dead_letters") == [(0,)]


def test_topic_that_is_missing_is_one_line(line: Line, tocsin: Run) -> None:
    put_aside(line, wire())
    said = failure(tocsin("redrive", "--all", TOCSIN_TOPIC="elsewhere"))
    assert said == "tocsin: there is no topic elsewhere: run `tocsin migrate`"
