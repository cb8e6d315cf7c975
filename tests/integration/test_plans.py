"""How the database finds what the API and docs/sql.md ask: by an index, in the time's chunks."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from types import MappingProxyType
from typing import Any, NamedTuple

import psycopg
import pytest

from sql.incidents import IncidentFilter
from sql.logs import LogPosition, LogSearch, search_values
from sql.statements import statements
from tests.integration.analysts import freeze, ms
from tests.integration.plans import Reading, fill, nested_readings, readings
from tests.integration.test_sql_page import questions

HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
OF_CHUNK = re.compile(r"_hyper_\d+_\d+_chunk_?|^\d+_\d+_")
BY_TIME, BY_SERVICE, WINDOWS = "logs_arrival", "logs_service_time", "error_windows_pkey"


class Plan(NamedTuple):
    """What a statement may read.

    indexes: every one of them, and no other but of `also`, if any is named. chunks: at most so
    many; `whole`: they may be read whole. small: tables of which all rows are read.
    """

    indexes: set[str]
    chunks: int = 0
    whole: bool = False
    small: frozenset[str] = frozenset()
    values: Mapping[str, Any] = MappingProxyType({})
    also: frozenset[str] = frozenset()


def hour(**values: Any) -> dict[str, Any]:
    return {"since": NOON - HOUR, "until": NOON, "limit": 20, "services": None, **values}


SOME = ["service-1", "service-2"]
LAST = LogPosition(NOON - HOUR / 2, 1, 0, 500)
SEARCH = LogSearch(since=NOON - HOUR, until=NOON)
SEARCH_MORE = LogSearch(
    since=NOON - HOUR,
    until=NOON,
    last=LAST,
    levels=["ERROR"],
    text="x",
    metadata=['{"a":1}'],
    services=SOME,
)
SETTINGS = frozenset({"detection_settings"})
EVENTS, EVIDENCE = "incident_events_incident", "incident_evidence_pkey"

# A record may arrive long after its timestamp: a range of arrivals looks into each chunk's index.
PLANS: dict[str, Plan] = {
    "as_of.select_windows_as_of": Plan(set(), chunks=2, whole=True),
    "as_of.select_incidents_as_of": Plan(set(), small=frozenset({"incidents"})),
    "as_of.select_arrivals_between": Plan({BY_TIME}, chunks=11),
    "as_of.count_records_between": Plan(set(), chunks=1, whole=True),
    "as_of.select_slice": Plan({BY_TIME}, chunks=11),
    "audit.select_entries": Plan({"audit_log_pkey"}, values={"before": 2**60, "action": None}),
    "export.select_bounds_of_incidents": Plan({"incidents_newest"}),
    "export.export_logs": Plan({BY_TIME}, chunks=1),
    "export.export_logs_by_arrival": Plan({BY_TIME}, chunks=11),
    "export.export_windows": Plan(set(), chunks=1, whole=True),
    "export.export_incidents": Plan({"incidents_newest"}),
    "incident_changes.select_assignee": Plan({"users_email"}),
    "incident_changes.lock_incident": Plan({"incidents_pkey"}),
    "incident_changes.select_revision": Plan({EVENTS}),
    "incident_changes.update_status": Plan({"incidents_pkey"}, values={"status": "RESOLVED"}),
    "incident_changes.update_severity": Plan({"incidents_pkey"}, values={"severity": "LOW"}),
    "incident_changes.update_assignee": Plan({"incidents_pkey"}),
    "incident_changes.update_deleted": Plan({"incidents_pkey"}),
    "incident_changes.select_entry": Plan(
        {"incident_events_pkey", "incidents_pkey"}, also=frozenset({EVENTS})
    ),
    "incidents.select_incidents": Plan(
        {"incidents_newest", EVENTS},
        values={**IncidentFilter().values(), "limit": 20, "most": 10_001},
    ),
    "incidents.select_incident": Plan({"incidents_pkey", EVENTS}),
    "incidents.find_incidents": Plan({"incidents_pkey"}),
    "incidents.count_timeline": Plan({EVENTS}),
    "incidents.select_timeline": Plan({EVENTS, "incidents_pkey"}),
    "incidents.count_incident_logs": Plan({BY_SERVICE}, chunks=1),
    "incidents.select_incident_logs": Plan({BY_SERVICE}, chunks=1),
    "incidents.select_is_lost": Plan({"incidents_pkey", EVIDENCE, BY_SERVICE}, chunks=1),
    "incidents.count_evidence": Plan({EVIDENCE}),
    "incidents.select_evidence": Plan({EVIDENCE, "incidents_pkey"}),
    "keys.select_good_key": Plan({"ingest_keys_pkey"}),
    "keys.select_keys": Plan({"ingest_keys_oldest"}),
    "keys.revoke_key": Plan({"ingest_keys_pkey"}),
    "keys.select_key": Plan({"ingest_keys_pkey"}),
    "keys.update_last_used": Plan({"ingest_keys_pkey"}),
    "labels.find_incidents": Plan({"incidents_pkey"}),
    "labels.lock_incident": Plan({"incidents_pkey"}),
    "labels.delete_label": Plan({"incident_labels_pkey"}),
    "labels.select_label": Plan({"incident_labels_pkey", "incidents_pkey"}),
    "labels.delete_missed": Plan({"missed_incidents_pkey"}, values={"id": 7}),
    "labels.select_known_service": Plan({WINDOWS}, chunks=4),
    "ledger.select_name": Plan({"incidents_pkey"}),
    "ledger.select_incident": Plan({"incidents_pkey"}),
    "ledger.select_windows": Plan({"incidents_pkey", WINDOWS}, chunks=1),
    "logs.search_logs": Plan({BY_TIME}, chunks=1, values=search_values(SEARCH, 100)),
    "logs.search_logs_of_services": Plan(
        {BY_SERVICE}, chunks=1, values=search_values(SEARCH_MORE, 100)
    ),
    "sessions.delete_expired": Plan({"sessions_expiry"}),
    "sessions.insert_session": Plan({"users_pkey"}),
    "sessions.delete_surplus": Plan({"sessions_user", "sessions_pkey"}),
    "sessions.select_session": Plan({"sessions_pkey", "users_pkey"}),
    "sessions.lock_session": Plan({"sessions_pkey", "users_pkey"}),
    "sessions.update_session": Plan({"sessions_pkey"}),
    "sessions.delete_session": Plan({"sessions_pkey"}),
    "sessions.delete_sessions_of": Plan({"sessions_user"}),
    "statistics.count_per_minute": Plan({BY_TIME}, chunks=1),
    "statistics.count_per_hour": Plan({BY_SERVICE}, chunks=1, values=hour(services=SOME)),
    "statistics.count_per_day": Plan(
        set(), chunks=3, whole=True, values=hour(since=NOON - 48 * HOUR)
    ),
    "statistics.select_baseline_windows": Plan({WINDOWS}, chunks=1),
    "statistics.top_messages": Plan({BY_TIME}, chunks=1),
    "statistics.select_services": Plan({WINDOWS, "incidents_open"}, chunks=4),
    "users.select_credentials": Plan({"users_email"}),
    "users.select_credentials_of": Plan({"users_pkey"}),
    "users.select_users": Plan({"users_oldest"}),
    "users.select_user": Plan({"users_pkey"}),
    "users.lock_user": Plan({"users_pkey"}),
    "users.update_user": Plan({"users_pkey"}),
    "users.delete_user": Plan({"users_pkey"}),
}

NO_READING = "reads no table"
FEW = "reads a table that stays small: a row a person, a key, a label, a version or a partition"
FEW_BACKTESTS = "reads a table of which a few rows are kept, or none"
CHUNKS = "reads the list of chunks, not the chunks"
ALL_LOGS = "of a backtest or an export without bounds, which then reads them all"
EXCEPTIONS: dict[str, str] = {
    "as_of.select_first_arrival": ALL_LOGS,
    "as_of.select_first_offset": "reads the logs of one partition from a time on, to their end",
    "as_of.select_topic": FEW,
    "as_of.select_partitions": FEW,
    "audit.insert_entry": NO_READING,
    **{f"backtests.{name}": FEW_BACKTESTS for name in statements("backtests")},
    "export.begin_snapshot": NO_READING,
    "export.select_bounds_of_logs": CHUNKS,
    "export.select_bounds_of_logs_by_arrival": ALL_LOGS,
    "export.select_bounds_of_windows": CHUNKS,
    "incident_changes.insert_manual_incident": NO_READING,
    "incident_changes.insert_person_event": FEW,
    "keys.insert_key": NO_READING,
    "keys.count_keys": FEW,
    "keys.find_key": FEW,
    "labels.upsert_label": NO_READING,
    "labels.insert_missed": NO_READING,
    "labels.select_labels": FEW,
    "ledger.begin_snapshot": NO_READING,
    "logs.bound_search": NO_READING,
    "reader.ping": NO_READING,
    "users.insert_user": NO_READING,
    "users.count_users": FEW,
    "users.lock_admins": FEW,
    **{f"detection_settings.{name}": FEW for name in statements("detection_settings")},
}
NOT_OF_THE_API = {
    "connect",  # sessions of the server
    "dead_letters",  # the command line, which looks through all of them
    "flow_lock",
    "maintain",  # what else the database's owner does
    "migrate",
    "policies",
    "recent_ids",  # the flow, when it starts
    "roles",
    "services",  # the flow, when it starts anew: of every service
    "timeline",  # the flow
    "timescale",
    "writer",  # the flow
}

PAGE: dict[str, Plan] = {
    "Which services err most today, against yesterday?": Plan(set(), chunks=2, whole=True),
    "How much of the error budget is burnt?": Plan(set(), chunks=11, whole=True),
    "Which services have stopped logging?": Plan(set(), chunks=2, whole=True),
    "At which hours of the day do errors come?": Plan(set(), chunks=8, whole=True),
    "Which error messages are the noisiest?": Plan({BY_TIME}, chunks=1),
    "Which error messages are new today?": Plan(set(), chunks=8, whole=True),
    "Where does a text or a field occur?": Plan({BY_SERVICE}, chunks=2),
    "What is open, and who is at it?": Plan({"incidents_unresolved"}),
    "How many incidents were there each week, and how fast was somebody at it?": Plan(
        set(), small=frozenset({"incidents", "incident_events"})
    ),
    "Which services have the most incidents, and how many of these are worth it?": Plan(
        set(), small=frozenset({"incidents"})
    ),
    "Which version of the settings judged, and what did it say?": Plan(set(), chunks=1, whole=True),
    "Was any minute skipped?": Plan(set(), chunks=4, whole=True),
    "What were the verdicts around it?": Plan({"incidents_pkey", WINDOWS}, chunks=1),
    "What else changed around it?": Plan({"incidents_pkey"}, chunks=1, whole=True),
    "What was done about it, and by whom?": Plan({EVENTS}),
    "Whose records come late?": Plan(set(), chunks=1, whole=True),
    "Which of its hosts is late, and by how much?": Plan({BY_SERVICE}, chunks=2),
    "Which services log to more than one partition?": Plan({BY_TIME}, chunks=1),
    "Whose records break the contract, and how?": Plan({"dead_letters_newest"}),
}
# detection_settings has a row a version.
OF_FUNCTIONS: dict[str, Plan] = {
    "What share of a service's records are errors, hour by hour?": Plan({BY_SERVICE}, chunks=1),
    "Why did it fire?": Plan({"incidents_pkey", WINDOWS}, chunks=2, small=SETTINGS),
    "Which records belong to it?": Plan({"incidents_pkey", BY_SERVICE, EVIDENCE}, chunks=1),
}


@pytest.fixture(scope="module")
def conn(module_database_url: str) -> Iterator[psycopg.Connection]:
    fill(module_database_url)
    with psycopg.connect(
        module_database_url, autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as conn:
        freeze(conn)
        yield conn


@pytest.fixture(scope="module")
def known(conn: psycopg.Connection) -> dict[str, dict[str, Any]]:
    """Values that the statements of each file find something by."""

    def one(statement: str) -> Any:
        [(value,)] = conn.execute(statement.encode()).fetchall()
        return value

    incident = one("select incident_id from incident_evidence order by 1 limit 1")
    common: dict[str, Any] = {
        **hour(),
        "start_ms": ms(NOON - HOUR),
        "from_ms": ms(NOON - HOUR),
        "begin_ms": ms(NOON - HOUR),
        "end_ms": ms(NOON),
        "topic_id": "topic",
        "partition": 0,
        "offset": 0,
        "prefix": incident[:8],
        "windows": 181,
        "after": "",
        "most": 1,
        "service_id": "service-1",
        "sample": 1000,
        "characters": 300,
        "assignee": "a@b.org",
        "incident_id": incident,
        "email": "user-7@example.org",
        "role": None,
        "password_hash": "hash",
        "refresh_hash": b"",
        "ttl_s": 60,
        "text": "key-7",
        "ids": ["key-7"],
        "times": [NOON],
        "user_id": one("select id from users where email = 'user-7@example.org'"),
    }
    seq = one(f"select min(seq) from incident_events where incident_id = '{incident}'")
    session = one("select id from sessions order by id limit 1")
    return {
        "": common,
        **{
            name: {**common, "id": incident, "seq": seq}
            for name in ("incident_changes", "ledger", "labels")
        },
        "incidents": {**common, "id": incident},
        "keys": {**common, "id": "key-7"},
        "sessions": {**common, "id": session},
        "users": {**common, "id": common["user_id"]},
    }


def complaints(found: list[Reading], plan: Plan) -> list[str]:
    chunks = {reading.relation for reading in found if OF_CHUNK.match(reading.relation)}
    indexes = {OF_CHUNK.sub("", reading.through) for reading in found if reading.through}
    whole = {reading.relation for reading in found if reading.through is None} - plan.small
    told = []
    if indexes - plan.indexes - plan.also and plan.indexes:
        told.append(f"reads {indexes} instead of {plan.indexes}")
    if plan.indexes - indexes:
        told.append(f"does not read {plan.indexes - indexes}")
    if len(chunks) > plan.chunks:
        told.append(f"reads {len(chunks)} chunks, not {plan.chunks}")
    if whole - (chunks if plan.whole else set()):
        told.append(f"reads all of {whole}")
    return told


def test_every_statement_of_the_api_has_a_plan_or_a_reason() -> None:
    folder = files("sql") / "queries"
    names = {file.name.removesuffix(".sql") for file in folder.iterdir()} - NOT_OF_THE_API
    asked = {f"{name}.{statement}" for name in names for statement in statements(name)}
    assert asked == PLANS.keys() | EXCEPTIONS.keys()
    assert not PLANS.keys() & EXCEPTIONS.keys()


@pytest.mark.parametrize("name", PLANS)
def test_statement_reads_what_it_needs_alone(
    conn: psycopg.Connection, known: dict[str, dict[str, Any]], name: str
) -> None:
    plan = PLANS[name]
    file, _, statement = name.partition(".")
    values = {**known.get(file, known[""]), **plan.values}
    found = readings(conn, statements(file)[statement], values)
    assert complaints(found, plan) == [], found


def test_every_question_of_the_page_has_a_plan() -> None:
    assert {question.title for question in questions()} == PAGE.keys() | OF_FUNCTIONS.keys()


def asked(title: str, incident: str) -> bytes:
    """Return the query of a question, about an incident that there is."""
    [query] = [question.query for question in questions() if question.title == title]
    return re.sub("[0-9a-f]{32}", incident, query).rstrip().rstrip(";").encode()


@pytest.mark.parametrize("title", PAGE)
def test_question_of_the_page_reads_what_it_needs_alone(
    conn: psycopg.Connection, known: dict[str, dict[str, Any]], title: str
) -> None:
    found = readings(conn, asked(title, known["incidents"]["id"]), None)
    assert complaints(found, PAGE[title]) == [], found


@pytest.mark.parametrize("title", OF_FUNCTIONS)
def test_function_that_the_page_asks_reads_what_it_needs_alone(
    conn: psycopg.Connection, known: dict[str, dict[str, Any]], title: str
) -> None:
    found = nested_readings(conn, asked(title, known["incidents"]["id"]))
    assert complaints(found, OF_FUNCTIONS[title]) == [], found
