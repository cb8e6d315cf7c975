"""`explain_incident`: the arithmetic of `tocsin explain`, in SQL."""

import random
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from bench.replay import TIMELINES, closed_runs, event_runs, replay, synthetic_series
from flows.arithmetic import Arithmetic
from flows.explain import Explanation, Reach, explain_stored
from flows.rows import Run
from sql.incidents import IncidentTable
from sql.ledger import Ledger, StoredIncident
from sql.reader import Reader, with_reader
from tests.integration.ledgers import FIRST_WINDOW, replayed, store
from tests.integration.test_functions import Rows, query
from tests.unit.detection.streams import SMALL_GUARDED, SMALL_PLAIN
from tocsin.detection import WINDOW_MS, DetectionSettings, SettingsTimeline
from tocsin.records import EPOCH

NUMBERS = ("n", "sum", "squares", "records", "mean", "sigma", "above", "spread", "z")
SMALL_NUMBERS = (
    "minimum_count",
    "baseline_windows",
    "minimum_baseline_windows",
    "guarded_lookback_windows",
    "unknown_gap_windows",
    "unknown_records_per_window",
)


def judge_by(database_url: str, timeline: SettingsTimeline) -> None:
    """Have the database say of its only version what a timeline says."""
    [settings] = timeline.versions
    numbers = {name: getattr(settings, name) for name in SMALL_NUMBERS}
    document = {"settings": {"preset": settings.preset.value, **numbers}}
    with psycopg.connect(database_url) as conn:
        conn.execute("update detection_settings set document = %s", [Jsonb(document)])


def explanations(
    database_url: str, ids: Sequence[str], timeline: SettingsTimeline
) -> Iterator[tuple[Explanation, Ledger, Rows]]:
    """Yield what `tocsin explain` makes of each incident, from which ledger, and what SQL does."""

    async def read(reader: Reader) -> list[Ledger]:
        table = IncidentTable(reader)
        return [await table.ledger(id_, windows_max=10**6) for id_ in ids]

    ledgers = with_reader(database_url, read)
    with psycopg.connect(database_url, row_factory=dict_row) as conn:
        for ledger in ledgers:
            assert isinstance(ledger.incident, StoredIncident)
            id_ = ledger.incident.incident_id
            rows = conn.execute("select * from explain_incident(%s)", [id_]).fetchall()
            yield explain_stored(ledger.incident, ledger.windows, lambda: timeline), ledger, rows


def assert_the_same(explanation: Explanation, ledger: Ledger, rows: Rows) -> None:
    assert isinstance(ledger.incident, StoredIncident)
    told = {"plain": explanation.plain, "guarded": explanation.guarded}
    assert [row["baseline"] for row in rows] == [name for name, own in told.items() if own]
    for row in rows:
        own = told[row["baseline"]]
        assert own is not None
        assert row["errors"] == own.errors == ledger.incident.count
        assert {name: row[name] for name in NUMBERS} == {
            name: getattr(own, name) for name in NUMBERS
        }
        assert row["agrees"] is not False
        assert_windows(row, own)
        if explanation.kind.value == "errors" and not is_left_out(row, explanation):
            assert row["holds"] is (severity_told(row, explanation) is not None)
            assert row["severity"] == severity_told(row, explanation)


def assert_windows(row: dict[str, Any], own: Arithmetic) -> None:
    """Whatever windows either of them tells, the other tells them too."""
    members = {window.window_start: window.errors for window in own.windows}
    if row["windows"] is None:
        assert not members
    elif members or row["baseline"] == "plain":
        assert dict(zip(row["windows"], row["counts"], strict=True)) == members
        assert row["agrees"] is True


def is_left_out(row: dict[str, Any], explanation: Explanation) -> bool:
    """Tell whether `tocsin explain` has no line on a baseline: late errors breach nothing."""
    late = any("opened by late errors" in line for line in explanation.lines)
    if late and row["baseline"] == "guarded":
        assert row["holds"] is False
        return True
    return False


def severity_told(row: dict[str, Any], explanation: Explanation) -> str | None:
    """Return the severity that a line of the test ends with; None if it does not hold."""
    name = "signal" if row["baseline"] == "plain" else "breach"
    told = re.compile(rf"  z'? = .* windows .*: (no )?{name}(?:, (\w+) for .*)?")
    [found] = filter(None, map(told.fullmatch, explanation.lines))
    return None if found[1] else found[2]


def ids_of(database_url: str) -> list[str]:
    return [row["id"] for row in query(database_url, "select id from incidents order by id")]


@pytest.mark.parametrize("preset", ["plain", "guarded"])
def test_explanation_is_that_of_the_command_on_a_recorded_day(
    database_url: str, preset: str
) -> None:
    timeline = TIMELINES[preset]
    judge_by(database_url, timeline)
    for service, minutes in list(synthetic_series().items())[::8]:
        own = minutes[:1440]
        store(database_url, replay(closed_runs(own), 1442, timeline, service_id=service))
    ids = ids_of(database_url)
    assert len(ids) > 15
    full = 0
    for explanation, ledger, rows in explanations(database_url, ids, timeline):
        assert_the_same(explanation, ledger, rows)
        full += explanation.reach is Reach.FULL
    assert full == len(ids)


@pytest.mark.parametrize("preset", ["plain", "guarded"])
def test_explanation_is_that_of_the_command_with_records_late_and_out_of_order(
    database_url: str, preset: str
) -> None:
    timeline = TIMELINES[preset]
    judge_by(database_url, timeline)
    for service, runs in event_runs().items():
        store(database_url, replay(runs, 181, timeline, service_id=service))
    ids = ids_of(database_url)
    assert len(ids) > 10
    for explanation, ledger, rows in explanations(database_url, ids, timeline):
        assert_the_same(explanation, ledger, rows)


@pytest.mark.parametrize("timeline", [SMALL_GUARDED, SMALL_PLAIN], ids=["guarded", "plain"])
def test_explanation_is_that_of_the_command_on_many_short_streams(
    database_url: str, timeline: SettingsTimeline
) -> None:
    """Numbers so small that late, silent, frozen, absorbed and guarded all happen."""
    judge_by(database_url, timeline)
    for seed in range(40):
        runs = list(short_stream(random.Random(seed)))
        store(database_url, replay(runs, runs[-1].window + 12, timeline, service_id=f"s-{seed}"))
    ids, late, frozen = ids_of(database_url), 0, 0
    assert len(ids) > 100
    for explanation, ledger, rows in explanations(database_url, ids, timeline):
        assert_the_same(explanation, ledger, rows)
        late += isinstance(ledger.incident, StoredIncident) and ledger.incident.detected_late
        frozen += any("still that of" in line for line in explanation.lines)
    assert late > 5
    assert frozen > 0 or timeline is SMALL_PLAIN


def short_stream(rng: random.Random) -> Iterator[Run]:
    clock = FIRST_WINDOW
    for offset in range(rng.randrange(20, 60)):
        clock += rng.choices([0, 1, 2, 6], [20, 70, 8, 1])[0]
        window = clock - rng.choices([0, 1, 3, 5, 9], [60, 10, 10, 10, 10])[0]
        errors = rng.choices([0, 1, 2, 4, 9, 20], [40, 20, 15, 10, 8, 7])[0]
        arrival_ms = clock * WINDOW_MS + 30_000
        yield Run(window, errors + rng.randrange(1, 4), errors, arrival_ms, arrival_ms, offset)


def test_explanation_names_a_number_that_was_changed(database_url: str) -> None:
    [row] = store(database_url, replayed("checkout"))
    statement = "select baseline, agrees from explain_incident(%s)"
    for change, expected in (
        ("update incidents set observed = observed", [True, True]),
        ("update incidents set z = z + 1", [False, True]),
        ("update incidents set baseline_errors = baseline_errors - 1", [False, True]),
        ("update error_windows set errors = errors + 1 where errors = 2", [False, None]),
        ("delete from error_windows where window_start < %s", [None, None]),
    ):
        with psycopg.connect(database_url) as conn:
            middle = EPOCH + timedelta(milliseconds=(FIRST_WINDOW + 30) * WINDOW_MS)
            conn.execute(change.encode(), [middle] if "%s" in change else [])
            rows = conn.execute(statement.encode(), [row.incident_id]).fetchall()
            conn.rollback()
        assert rows == [("plain", expected[0]), ("guarded", expected[1])], change


def test_there_is_nothing_to_explain_of_what_a_person_opened(database_url: str) -> None:
    [row] = store(database_url, replayed("checkout"))
    manual = """
        insert into incidents (id, service_id, kind, title, severity, status, first_window,
                               opened_at)
        values (repeat('a', 32), 'checkout', 'manual', 'By hand', 'HIGH', 'OPEN', now(), now())
    """
    with psycopg.connect(database_url) as conn:
        conn.execute(manual)
    count = "select count(*) from explain_incident(%s)"
    for id_, expected in ((row.incident_id, 2), ("a" * 32, 0), ("f" * 32, 0), ("%", 0)):
        assert query(database_url, count, id_) == [{"count": expected}]


def test_numbers_are_those_that_judge_the_service(database_url: str) -> None:
    document = {
        "settings": {"threshold_sigma": "2.5"},
        "overrides": [
            {"services": "batch-*", "settings": {"minimum_count": 20}},
            {"services": "batch-7", "settings": {"minimum_count": 30}},
        ],
    }
    with psycopg.connect(database_url) as conn:
        conn.execute("update detection_settings set document = %s", [Jsonb(document)])
        conn.execute(
            "insert into detection_settings (version, effective_from, document, created_by) "
            "values (2, now(), '{}', 'tests')"
        )
    for service, version, minimum, threshold in (
        ("web", 1, 5, "2.5"),
        ("batch-7", 1, 20, "2.5"),
        ("batch-7", 2, 5, "3"),
    ):
        [row] = query(database_url, "select detection_numbers(%s, %s) as n", service, version)
        numbers = row["n"]
        assert (numbers["minimum_count"], str(numbers["threshold_sigma"])) == (minimum, threshold)
    assert query(database_url, "select detection_numbers('web', 3) as n") == [{"n": None}]


def test_defaults_in_sql_are_those_of_the_detection(database_url: str) -> None:
    defaults = DetectionSettings()
    [row] = query(database_url, "select detection_numbers('web', 1) as n")
    assert len(row["n"]) == 9
    for name, number in row["n"].items():
        assert float(getattr(defaults, name)) == float(number), name


def test_patterns_match_as_those_of_the_detection_settings(database_url: str) -> None:
    rng = random.Random(1)
    fixed = [
        "[a-c]b",
        "[!a]b",
        "[]a]",
        "[!]a]b",
        "[a",
        "a]",
        "[z-a]",
        "a.b",
        "a\\b",
        "(a|b)",
        "^a$",
    ]
    patterns = fixed + [
        "".join(rng.choices("ab-*?[]!.^", k=rng.randrange(0, 6))) for _ in range(400)
    ]
    names = ["", "a", "b", "ab", "a-b", "a.b", "a\\b", "-", "!", "]b", "^a$", "(a|b)", "a\nb", "A"]
    statement = "select service_matches(%s, %s)"
    with psycopg.connect(database_url) as conn:
        for pattern in patterns:
            for name in names:
                [(found,)] = conn.execute(statement, [name, pattern]).fetchall()
                assert found is fnmatchcase(name, pattern), (name, pattern)
