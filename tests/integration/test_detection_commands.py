"""`tocsin detection` as a person runs it, on a real database."""

import getpass
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest

from tests.integration.commands import Run, execute, failure, tocsin

__all__ = ["tocsin"]


def in_minutes(minutes: int) -> datetime:
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    return now + timedelta(minutes=minutes)


def test_new_version_is_made_listed_and_shown(database_url: str, tocsin: Run) -> None:
    start = in_minutes(30)
    done = tocsin(
        "detection", "set", "threshold_sigma=3.5", "minimum_count=8", "--from", start.isoformat()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"version 2 judges the windows from {start:%Y-%m-%d %H:%M} UTC on",
        "  all services: threshold_sigma 3 -> 3.5, minimum_count 5 -> 8",
    ]
    done = tocsin("detection", "set", "minimum_count=20", "--services", "batch-*")
    assert "  batch-*: minimum_count 8 -> 20" in done.stdout.splitlines()
    listed = tocsin("detection", "list").stdout
    minutes = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
    user = getpass.getuser()
    assert minutes.sub("MINUTE", listed).splitlines() == [
        "version 1 from MINUTE UTC on: judges now",
        "  made MINUTE by tocsin",
        "version 2 from MINUTE UTC on: to come",
        f"  made MINUTE by {user}",
        "  all services: threshold_sigma 3 -> 3.5",
        "  all services: minimum_count 5 -> 8",
        "version 3 from MINUTE UTC on: to come",
        f"  made MINUTE by {user}",
        "  batch-*: minimum_count 8 -> 20",
    ]
    assert max(map(len, listed.splitlines())) <= 80


def test_show_tells_which_version_judges_now_and_which_follow_with_what(tocsin: Run) -> None:
    first, second = in_minutes(30), in_minutes(90)
    tocsin("detection", "set", "threshold_sigma=3.5", "--from", first.isoformat())
    batch = ("--services", "batch-*", "--from", second.isoformat())
    tocsin("detection", "set", "minimum_count=20", *batch)
    lines = tocsin("detection", "show").stdout.splitlines()
    assert lines[0] == "version 1 judges now, since 1970-01-01 00:00 UTC"
    followers = lines[lines.index(next(line for line in lines if "follows" in line)) :]
    minutes = re.compile(r"(29|30|89|90) min$")
    assert [minutes.sub("N min", line) for line in followers] == [
        f"version 2 follows {first:%Y-%m-%d %H:%M} UTC, in N min",
        "  all services: threshold_sigma 3 -> 3.5",
        f"version 3 follows {second:%Y-%m-%d %H:%M} UTC, in N min",
        "  batch-*: minimum_count 5 -> 20",
    ]
    one = tocsin("detection", "show", "batch-7").stdout
    assert "  batch-7: threshold_sigma 3 -> 3.5\n" in one
    assert "  batch-7: minimum_count 5 -> 20\n" in one
    assert "  checkout: nothing\n" in tocsin("detection", "show", "checkout").stdout


def test_show_tells_the_numbers_of_some_services_beside_those_of_most(
    database_url: str, tocsin: Run
) -> None:
    tocsin("detection", "set", "minimum_count=20", "calm_windows=9", "--services", "batch-*")
    tocsin("detection", "set", "calm_windows=6", "--services", "[ab]*")
    execute(
        database_url,
        "update detection_settings set"
        " effective_from = date_trunc('minute', now()) - (9 - version) * interval '1 minute'"
        " where version > 1",
    )
    lines = tocsin("detection", "show").stdout.splitlines()
    assert lines[0].startswith("version 3 judges now, since 20")
    assert lines[-2:] == [
        "services like batch-*: minimum_count 20 instead of 5, calm_windows 9 instead of 5",
        "services like [ab]*: calm_windows 6 instead of 5",
    ]
    assert tocsin("detection", "show", "a").stdout.endswith("judged as the services like [ab]*\n")
    assert re.search(r"version 2 .*: over", tocsin("detection", "list").stdout)


def test_a_change_for_all_is_not_told_again_for_each_pattern(tocsin: Run) -> None:
    tocsin("detection", "set", "minimum_count=20", "--services", "batch-*")
    done = tocsin("detection", "set", "calm_windows=6", "minimum_count=9")
    assert done.stdout.splitlines()[1:] == [
        "  all services: minimum_count 5 -> 9, calm_windows 5 -> 6"
    ]


def test_pattern_that_a_broader_one_leaves_nothing_to_is_refused_or_placed_before_it(
    tocsin: Run,
) -> None:
    tocsin("detection", "set", "minimum_count=9", "--services", "*")
    late = ("detection", "set", "minimum_count=20", "--services", "batch-*")
    line = failure(tocsin(*late))
    assert line == (
        "tocsin: no service would be left to batch-*: all like it match *, which is asked first;"
        " give --before '*', or `tocsin detection remove` one"
    )
    done = tocsin(*late, "--before", "*")
    assert done.stdout.splitlines()[1:] == ["  batch-*: minimum_count 9 -> 20"]
    assert "minimum_count 9 -> 20\n" in tocsin("detection", "show", "batch-7").stdout
    assert "minimum_count 5 -> 9\n" in tocsin("detection", "show", "checkout").stdout
    assert "version 3" in tocsin("detection", "list").stdout
    line = failure(tocsin("detection", "move", "*", "--before", "batch-*"))
    assert line.startswith("tocsin: no service would be left to batch-*")


def test_pattern_is_moved_and_removed_and_what_that_changes_is_told(tocsin: Run) -> None:
    tocsin("detection", "set", "minimum_count=20", "--services", "batch-*")
    tocsin("detection", "set", "minimum_count=9", "--services", "*-eu")
    assert tocsin("detection", "move", "*-eu", "--before", "batch-*").stdout.splitlines()[1:] == [
        "  patterns: asked in the order *-eu, batch-*"
    ]
    moved = tocsin("detection", "show", "batch-eu").stdout
    assert "  batch-eu: minimum_count 20 -> 9\n" in moved
    done = tocsin("detection", "remove", "*-eu")
    assert done.stdout.splitlines()[1:] == [
        "  *-eu: minimum_count 9 -> 5, no numbers of their own any more"
    ]
    done = tocsin("detection", "move", "batch-*")
    assert failure(done).startswith("tocsin: that would change nothing: version 5 says the same")
    tocsin("detection", "set", "minimum_count=3", "--services", "*")
    done = tocsin("detection", "remove", "batch-*")
    assert done.stdout.splitlines()[1:] == [
        "  batch-*: minimum_count 20 -> 3, no numbers of their own any more"
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["remove", "batch-*"], "no services like batch-* have numbers of their own"),
        (["move", "batch-*"], "no services like batch-* have numbers of their own"),
        (["move", "a*", "--before", "b*"], "no services like b* have numbers of their own"),
        (["set", "calm_windows=6", "--before", "a*"], "--before: places the pattern of --services"),
        (["remove", "a*", "--from", "soon"], "--from: 'soon' is no time"),
    ],
)
def test_place_that_cannot_be_is_one_line_and_no_version(
    tocsin: Run, words: list[str], complaint: str
) -> None:
    tocsin("detection", "set", "minimum_count=20", "--services", "a*")
    assert failure(tocsin("detection", *words)).startswith(f"tocsin: {complaint}")
    assert "version 3" not in tocsin("detection", "list").stdout


def test_pattern_that_no_service_takes_is_shown_as_such_and_can_be_removed(
    database_url: str, tocsin: Run
) -> None:
    execute(
        database_url,
        """update detection_settings set document = '{"overrides": [
            {"services": "*", "settings": {"minimum_count": 9}},
            {"services": "b*", "settings": {"minimum_count": 20}},
            {"services": "batch-*", "settings": {"minimum_count": 30}}]}'""",
    )
    assert tocsin("detection", "show").stdout.splitlines()[-3:] == [
        "services like *: minimum_count 9 instead of 5",
        "services like b*: judged as those like *, asked first",
        "services like batch-*: judged as those like *, asked first",
    ]
    done = tocsin("detection", "remove", "b*")
    assert done.stdout.splitlines()[1:] == ["  b*: no numbers of their own any more"]
    done = tocsin("detection", "remove", "*")
    assert done.stdout.splitlines()[1:] == [
        "  *: minimum_count 9 -> 5, no numbers of their own any more",
        "  batch-*: minimum_count 9 -> 30",
    ]


def test_withdrawn_version_is_listed_with_who_withdrew_it_and_replaced(tocsin: Run) -> None:
    start = in_minutes(30)
    tocsin("detection", "set", "minimum_count=8", "--from", start.isoformat())
    done = tocsin("detection", "withdraw", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "version 2 is withdrawn and will judge nothing",
        "  the newest is version 1, from 1970-01-01 00:00 UTC on",
    ]
    done = tocsin("detection", "set", "calm_windows=6", "--from", start.isoformat())
    assert done.stdout.splitlines() == [
        f"version 3 judges the windows from {start:%Y-%m-%d %H:%M} UTC on",
        "  all services: calm_windows 5 -> 6",
    ]
    listed = tocsin("detection", "list").stdout
    assert "withdrawn" in listed
    assert re.search(r"version 3 from .*: to come\n  made .*\n  all services: calm_wind", listed)
    assert "follows" in tocsin("detection", "show").stdout
    assert "minimum_count 5 -> 8" not in tocsin("detection", "show").stdout


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        ("1", "version 1 has begun and cannot be withdrawn"),
        ("2", "version 2 begins in less than 10 minutes and cannot be withdrawn any more"),
        ("3", "version 4 is built on version 3: withdraw that first"),
        ("5", "there is no version 5"),
        ("999999999", "there is no version 999999999"),
        ("99999999999999999999", "VERSION is '99999999999999999999': give its number"),
        ("0", "VERSION is '0': give its number"),
        ("", "VERSION is '': give its number"),
        ("NaN", "VERSION is 'NaN': give its number"),
        ("٣", "VERSION is '٣': give its number"),
    ],
)
def test_version_that_cannot_be_withdrawn_is_one_line(
    database_url: str, tocsin: Run, version: str, complaint: str
) -> None:
    for count in (8, 9, 10):
        tocsin(
            "detection",
            "set",
            f"minimum_count={count}",
            "--from",
            in_minutes(10 * count).isoformat(),
        )
    execute(
        database_url,
        "update detection_settings"
        " set effective_from = date_trunc('minute', now()) + interval '5 minutes'"
        " where version = 2",
    )
    line = failure(tocsin("detection", "withdraw", version))
    assert line.startswith(f"tocsin: {complaint}")
    assert "withdrawn" not in tocsin("detection", "list").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["set", "calm_windows=4", "--services", "a\udcff*"],
        ["set", "calm_windows=4", "--from", "\udcff"],
        ["set", "\udcff=4"],
        ["set", "calm_windows=\udcff"],
        ["show", "\udcff"],
        ["withdraw", "\udcff"],
    ],
)
def test_bytes_that_are_no_text_are_one_line(tocsin: Run, words: list[str]) -> None:
    line = failure(tocsin("detection", *words))
    assert re.fullmatch(r"tocsin: '.*\\xff.*': is not UTF-8", line)


@pytest.mark.parametrize("service", ["", "x" * 129, "a\nb"])
def test_service_that_cannot_be_is_one_line(tocsin: Run, service: str) -> None:
    assert failure(tocsin("detection", "show", service)).startswith("tocsin: SERVICE: give 1 to")


def test_name_of_the_user_need_not_be_text(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tocsin", "detection", "set", "calm_windows=4"],
        env={**os.environ, "DATABASE_URL": database_url, "LOGNAME": "\udcff"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_database_refuses_is_one_line(database_url: str, tocsin: Run) -> None:
    execute(database_url, "alter table detection_settings rename column document to other")
    for command in (["list"], ["show"], ["set", "calm_windows=4"], ["withdraw", "2"]):
        assert failure(tocsin("detection", *command)).startswith("tocsin: the database: column")


def test_numbers_of_a_version_to_come_are_told_with_its_begin(tocsin: Run) -> None:
    start = in_minutes(30).replace(second=0, microsecond=0)
    change = ("detection", "set", "calm_windows=4")
    assert tocsin(*change, "--from", start.isoformat()).returncode == 0
    assert failure(tocsin(*change)) == (
        "tocsin: that would change nothing: version 2 says the same from"
        f" {start:%Y-%m-%d %H:%M} UTC on; `tocsin detection withdraw 2` takes it back, so that one"
        " can be made that begins earlier"
    )
    assert tocsin("detection", "withdraw", "2").returncode == 0
    assert tocsin(*change).returncode == 0


def test_version_without_a_start_begins_as_soon_as_one_may(tocsin: Run) -> None:
    done = tocsin("detection", "set", "preset=plain", "silence=false")
    start = datetime.fromisoformat(done.stdout.split("from ")[1].split(" UTC")[0] + "+00:00")
    assert in_minutes(9) < start <= in_minutes(12)
    assert (
        "  all services: preset guarded -> plain, silence true -> false" in done.stdout.splitlines()
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["threshold_sgima=3"], "threshold_sgima: no such setting, did you mean threshold_sigma?"),
        (["xyz=3"], "xyz: no such setting, `tocsin detection show` lists them"),
        (["threshold_sigma"], "threshold_sigma: give a setting and its value"),
        ([""], "tocsin: '': give a setting and its value"),
        (["=3"], "tocsin: '': no such setting"),
        (["a\nb=3"], r"'a\nb': no such setting"),
        (["x" * 99], "tocsin: " + "x" * 40 + ": give a setting and its value"),
        (["threshold_sigma=NaN"], "threshold_sigma is 'NaN': give a number, as 2.5"),
        (["threshold_sigma=1e3"], "threshold_sigma is '1e3': give a number, as 2.5"),
        (["threshold_sigma=Infinity"], "threshold_sigma is 'Infinity': give a number, as 2.5"),
        (["minimum_count="], "minimum_count is '': give a whole number"),
        (["minimum_count=NaN"], "minimum_count is 'NaN': give a whole number"),
        (["minimum_count=" + "9" * 99], "9': give a whole number of at most 9 digits"),
        (["threshold_sigma=high"], "threshold_sigma is 'high': give a number, as 2.5"),
        (["threshold_sigma=1_0"], "threshold_sigma is '1_0': give a number, as 2.5"),
        (["threshold_sigma=0"], "threshold_sigma is 0: give it above 0"),
        (["threshold_sigma=2.0001"], "threshold_sigma is 2.0001: give it above 0, up to 1000"),
        (["calm_windows=2.5"], "calm_windows is '2.5': give a whole number"),
        (["calm_windows=0"], "calm_windows is 0: give a whole number of at least 1"),
        (["silence=off"], "silence is 'off': give true or false"),
        (["preset=loud"], "preset is 'loud': give guarded or plain"),
        (["idle_ms=1"], "idle_ms: cannot be changed"),
        (["version=9"], "version: cannot be changed"),
        (["critical_sigma=2"], "critical_sigma must be at least threshold_sigma"),
        (["calm_windows=4", "calm_windows=6"], "calm_windows: given twice"),
        (["calm_windows=5"], "would change nothing"),
        (["calm_windows=4", "--services", ""], "services: give a pattern"),
        (["calm_windows=4", "--from", ""], "--from: '' is no time"),
        (["calm_windows=4", "--from", "0001-01-01T00:00:00+14:00"], "at least 10 minutes ahead"),
        (["calm_windows=4", "--from", "9999-12-31T23:59:00-14:00"], "at most 30 days ahead"),
        (["calm_windows=4", "--from", "9999-12-31T23:59:60Z"], "is no time"),
        (["calm_windows=4", "--from", "10000-01-01T00:00:00Z"], "is no time"),
        (["calm_windows=4", "--from", "soon"], "--from: 'soon' is no time"),
        (["calm_windows=4", "--from", "2126-03-02T08:00:00"], "lacks its time zone"),
        (["calm_windows=4", "--from", "2126-03-02T08:00:01Z"], "is no full minute"),
        (["calm_windows=4", "--from", "2026-03-02T08:00:00Z"], "at least 10 minutes ahead"),
    ],
)
def test_change_that_cannot_be_is_one_line_and_no_version(
    tocsin: Run, words: list[str], complaint: str
) -> None:
    line = failure(tocsin("detection", "set", *words))
    assert line.startswith("tocsin: ")
    assert complaint in line
    assert "version 2" not in tocsin("detection", "list").stdout
