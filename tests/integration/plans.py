"""A database large enough that an index pays, and what its plans read."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg

from tests.integration.http.test_api_filters import MANUAL, MANY

DAYS = 10
"""Days of logs, a chunk each, up to 2026-03-04 12:34; windows of three weeks before."""

LOGS = """
    insert into logs (timestamp, service_id, level, message, metadata, arrival, incarnation,
                      partition, "offset")
    select at, 'service-' || number % 97,
           (case when number % 20 = 0 then 'ERROR' else 'INFO' end)::log_level,
           'message ' || number % 50 || repeat('m', 100),
           jsonb_build_object('host', 'web-' || number % 7), at, 1, 0, number
    from (select number, '2026-03-04 12:34+00'::timestamptz - number * interval '4 seconds' as at
          from generate_series(216000, 1, -1) as number) as numbered
"""
WINDOWS = """
    insert into error_windows (
        service_id, window_start, errors, total, late_errors, late_total, verdict,
        baseline_windows, baseline_errors, baseline_squares, guarded_windows, guarded_errors,
        guarded_squares, guarded_records, closed, flagged, "unknown", settings_version, incarnation,
        partition, read_offset, "offset", arrival, clock_start, service_first, service_last,
        gap_windows, too_late)
    select 'service-' || service, at, 1, 5, 0, 0, 'normal', 30, 15, 15, 30, 15, 15, 150, true,
           false, false, 1, 1, 0, number, number, at, at + interval '2 minutes',
           '2026-02-11 00:00+00', at, 0, 0
    from (select number, service,
                 '2026-03-04 12:34+00'::timestamptz - number * interval '10 minutes' as at
          from generate_series(0, 2900) as number, generate_series(0, 19) as service) as numbered
"""
RESOLVE = """
    update incidents set resolved_window = first_window + interval '5 minutes'
    where status = 'RESOLVED'
"""
EVENTS = """
    insert into incident_events (incident_id, moment, at, severity, status)
    select id, moment, opened_at, severity, status
    from incidents, unnest(array['opened', 'confirmed', 'resolved']) as moment
"""
EVIDENCE = """
    insert into incident_evidence (incident_id, timestamp, level, message, arrival, incarnation,
                                   partition, "offset")
    select id, opened_at, 'ERROR', 'message', opened_at, 1, 0, number
    from (select id, opened_at from incidents order by id limit 1000) as kept,
         generate_series(1, 20) as number
"""
LABELS = """
    insert into incident_labels (incident_id, is_true, labelled_by)
    select id, true, 'ada@example.org' from incidents order by id limit 5000;
    insert into missed_incidents (service_id, started_at, ended_at, labelled_by)
    select 'service-1', at, at + interval '1 minute', 'ada@example.org'
    from generate_series('2026-01-01 00:00+00'::timestamptz, '2026-03-01', '20 minutes') as at
"""
PEOPLE = """
    insert into users (email, password_hash, role, created_at)
    select 'user-' || number || '@example.org', 'hash', 'viewer', now() - number * interval '1 hour'
    from generate_series(1, 5000) as number;
    insert into sessions (user_id, refresh_hash, expires_at)
    select id, 'hash', now() + interval '1 hour' from users, generate_series(1, 3);
    insert into ingest_keys (id, name, hash, created_at)
    select 'key-' || number, 'name-' || number, 'hash', now() - number * interval '1 hour'
    from generate_series(1, 5000) as number;
    insert into audit_log (actor, action, details)
    select 'ada@example.org', 'login.' || number % 50, '{}'
    from generate_series(1, 20000) as number;
    insert into dead_letters (incarnation, partition, "offset", topic, arrival, reason, key, raw)
    select 1, 0, number, 'logs', '2026-03-04 12:34+00'::timestamptz - number * interval '1 minute',
           'level: unknown level', 'service-1', ''
    from generate_series(1, 20000) as number
"""


def fill(database_url: str) -> None:
    """Write some ten thousand rows into every table that grows."""
    # The last day that this fleet knows is that of the page's answers, not today.
    incidents = MANY.replace("now()", "'2026-03-04 12:34+00'::timestamptz")
    manual = MANUAL.replace("now()", "'2026-03-04 12:34+00'::timestamptz")
    with psycopg.connect(database_url) as conn:
        for statement in (
            LOGS,
            WINDOWS,
            incidents,
            manual,
            RESOLVE,
            EVENTS,
            EVIDENCE,
            LABELS,
            PEOPLE,
        ):
            conn.execute(statement.encode())
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("vacuum analyze")


NESTED = """
    load 'auto_explain';
    set auto_explain.log_min_duration = 0;
    set auto_explain.log_nested_statements = on;
    set auto_explain.log_analyze = on;
    set auto_explain.log_timing = off;
    set auto_explain.log_format = json;
    set client_min_messages = log
"""


class Reading(NamedTuple):
    """What a plan reads: each table or chunk, through which index; None where it reads all."""

    relation: str
    through: str | None


def readings(
    conn: psycopg.Connection, query: bytes, values: dict[str, Any] | None
) -> list[Reading]:
    """Run a statement and return what it has read; what it has written is taken back."""
    with conn.transaction(force_rollback=True):
        explain = b"explain (analyze, timing off, summary off, format json) " + query
        [(plans,)] = conn.execute(explain, values).fetchall()
    plans = json.loads(plans) if isinstance(plans, str) else plans
    return [reading for plan in plans for reading in _readings(plan["Plan"])]


def nested_readings(conn: psycopg.Connection, query: bytes) -> list[Reading]:
    """Run a query and return what it has read, also within the functions that it calls."""
    told: list[str] = []

    def listen(notice: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (notice.message_primary or "").partition("plan:")
        if found:
            told.append(plan)

    conn.add_notice_handler(listen)
    try:
        conn.execute(NESTED)
        conn.execute(query).fetchall()
    finally:
        conn.execute("reset client_min_messages")
        conn.remove_notice_handler(listen)
    return [reading for plan in told for reading in _readings(json.loads(plan)["Plan"])]


def _readings(node: dict[str, Any]) -> Iterator[Reading]:
    if node["Actual Loops"] == 0:
        return
    kind = node["Node Type"]
    if kind == "Seq Scan":
        yield Reading(node["Relation Name"], None)
    elif kind in {"Index Scan", "Index Only Scan"}:
        yield Reading(node["Relation Name"], node["Index Name"])
    elif kind == "Bitmap Heap Scan":
        for index in _bitmap_indexes(node):
            yield Reading(node["Relation Name"], index)
    for child in node.get("Plans", ()):
        yield from _readings(child)


def _bitmap_indexes(node: dict[str, Any]) -> Iterator[str]:
    for child in node.get("Plans", ()):
        if child["Node Type"] == "Bitmap Index Scan":
            yield child["Index Name"]
        yield from _bitmap_indexes(child)
