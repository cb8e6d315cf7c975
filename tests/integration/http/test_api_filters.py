"""Lists of incidents narrowed down, each by an index."""

from datetime import datetime, timezone
from typing import Any

import psycopg

from sql.incidents import IncidentFilter
from sql.statements import statements
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_incidents import FIRST, MINUTE, add_incident, database, get

__all__ = ["database"]

MANY = """
    insert into incidents (
        id, service_id, kind, title, severity, status, machine_status, machine_severity,
        window_start, first_window, confirmed_at, observed, peak_z, baseline_windows,
        baseline_errors, baseline_squares, settings_version, decided_by, opened_at, detected_late,
        calm_windows, absorbed, incarnation, "offset", clock_start, hot_window)
    select md5(number::text), 'service-' || number % 500,
           case when number % 300 = 0 then 'silence' else 'errors' end::incident_kind, 'Anomaly',
           case when number % 200 = 0 then 'LOW' else 'HIGH' end::incident_severity,
           case when number % 400 = 0 then 'OPEN' else 'RESOLVED' end::incident_status,
           'RESOLVED', 'HIGH', at, at, case when number % 100 = 0 then at end, 12, 6.0, 10, 20, 50,
           1, 'plain', at, false, 0, false, 1, 7, at, at
    from (select number, now() - number * interval '1 minute' as at
          from generate_series(1, 20000) as number) as numbered
"""

MANUAL = """
    insert into incidents (id, service_id, kind, title, severity, status, assignee, first_window,
                           opened_at)
    select md5('m' || number), 'service-1', 'manual', 'By hand', 'HIGH', 'OPEN',
           case when number % 3 = 0 then 'ada@example.org' end, at, at
    from (select number, now() - number * interval '1 minute' as at
          from generate_series(1, 60) as number) as numbered
"""

FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "incidents_newest"),
    ({"service_id": "service-7"}, "incidents_service"),
    ({"status": "OPEN"}, "incidents_unresolved"),
    ({"status_not": "RESOLVED"}, "incidents_unresolved"),
    ({"severity": "LOW"}, "incidents_severity"),
    ({"kind": "silence"}, "incidents_silence"),
    ({"kind": "manual"}, "incidents_manual"),
    ({"confirmed": True}, "incidents_confirmed"),
    ({"assignee": "ADA@example.org"}, "incidents_assignee"),
]


def ids(api: Api, **filters: object) -> list[str]:
    answer = get(api, "/incidents", **filters)
    assert answer["meta"]["total"] == len(answer["data"])
    return [row["id"] for row in answer["data"]]


def test_each_filter_leaves_those_with_its_value_newest_first(
    api: Api, database: psycopg.Connection
) -> None:
    plain, low, confirmed, quiet, other = (
        add_incident(database, "other" if i == 4 else "checkout", opened=FIRST + i * MINUTE)
        for i in range(5)
    )
    database.execute("update incidents set confirmed_at = null, confirmed_window = null")
    for column, value, incident_id in (
        ("severity", "LOW", low),
        ("confirmed_at", FIRST.isoformat(), confirmed),
        ("kind", "silence", quiet),
        ("status", "ACKNOWLEDGED", quiet),
    ):
        database.execute(
            f"update incidents set {column} = %s where id = %s".encode(), [value, incident_id]
        )
    assert ids(api) == [other, quiet, confirmed, low, plain]
    assert ids(api, confirmed="true") == [confirmed]
    assert ids(api, confirmed="false") == [other, quiet, low, plain]
    assert ids(api, severity="LOW") == [low]
    assert ids(api, kind="silence") == [quiet]
    assert ids(api, status="ACKNOWLEDGED") == [quiet]
    assert ids(api, status="acknowledged", kind="Silence", confirmed="FALSE") == [quiet]
    assert ids(api, severity="low") == [low]
    assert ids(api, service_id="other") == [other]
    assert ids(api, service_id="checkout", status="OPEN", severity="HIGH") == [confirmed, plain]
    assert ids(api, service_id="nobody") == []
    assert [row["confirmed"] for row in get(api, "/incidents", confirmed="true")["data"]] == [True]


def test_time_range_is_when_it_was_opened(api: Api, database: psycopg.Connection) -> None:
    first, second, third = (
        add_incident(database, opened=FIRST + number * MINUTE) for number in range(3)
    )
    assert ids(api, **{"from": "2026-03-02T08:01:00Z"}) == [third, second]
    assert ids(api, to="2026-03-02T08:01:00Z") == [first]
    assert ids(api, **{"from": "2026-03-02T09:01:00+01:00", "to": "2026-03-02T08:02:00Z"}) == [
        second
    ]


def test_assignee_is_found_by_address_by_me_and_by_none(
    api: Api, database: psycopg.Connection
) -> None:
    mine, free = (add_incident(database, opened=FIRST + number * MINUTE) for number in range(2))
    answer = api.client.patch(
        f"/incidents/{mine}", json={"assignee": "me"}, headers=api.headers("operator")
    )
    address = answer.json()["assignee"]
    assert ids(api, assignee=address.upper()) == [mine]
    assert ids(api, assignee="none") == [free]
    assert ids(api, assignee="me") == []  # a viewer is nobody's assignee
    found = api.client.get("/incidents?assignee=me", headers=api.headers("operator")).json()
    assert [row["id"] for row in found["data"]] == [mine]


def test_each_filter_has_an_index(database_url: str) -> None:
    statement = b"explain " + statements("incidents")["select_incidents"]
    now = datetime.now(timezone.utc)
    times = [
        {"since": now - 5 * MINUTE},
        {"since": now - 90 * MINUTE, "until": now - 80 * MINUTE},
    ]
    with psycopg.connect(database_url, cursor_factory=psycopg.ClientCursor) as conn:
        conn.execute(MANY)
        conn.execute(MANUAL)
        conn.execute("analyze incidents")
        for chosen, index in [*FILTERS, *((time, "incidents_newest") for time in times)]:
            values: dict[str, Any] = IncidentFilter(**chosen).values()
            rows = conn.execute(
                statement, {**values, "limit": 20, "offset": 0, "most": 1}
            ).fetchall()
            plan = "\n".join(line for (line,) in rows)
            assert f"Index Scan using {index} " in plan, plan
            assert "Sort" not in plan
