"""incident-list: `GET /incidents` with many incidents stored, on ten connections and on one.

Ten that each ask again at once keep the API's worker busy, and wait for each other: their time is
ten times what a request costs. One connection shows what a request takes where nobody else asks.
"""

import psycopg

from bench import wrk
from bench.measurement import Figure
from bench.time_to_incident import access_token
from stack.running import temporary
from stack.timescale import DURABLE

ID = "incident-list"
CONNECTIONS = 10
SECONDS = 8
GOAL_MS = 10.0

FILL = """
    INSERT INTO incidents (id, service_id, kind, title, severity, status, first_window, opened_at)
    SELECT md5(number::text), 'service-' || number %% 500, 'manual', 'Anomaly Detected: service',
           'HIGH', CASE WHEN number %% 1000 = 0 THEN 'OPEN' ELSE 'RESOLVED' END::incident_status,
           at, at
    FROM (SELECT number, now() - number * INTERVAL '20 s' AS at
          FROM generate_series(1, %(count)s) AS number) AS numbered
"""


def run(incidents: int) -> list[Figure]:
    """Return the 99th percentile of the newest page, and of the newest of one service."""
    with temporary(settings=DURABLE) as stack:
        stack.migrate()
        stack.create_credentials()
        with psycopg.connect(stack.database_url, autocommit=True) as conn:
            conn.execute(FILL, {"count": incidents})
            conn.execute("VACUUM ANALYZE incidents")
        stack.settings["TOCSIN_LIMIT_ADDRESS_REQUESTS"] = "off"
        stack.start("api")
        stack.wait_ready()
        headers = {"Authorization": f"Bearer {access_token(stack)}"}
        figures = []
        for name, query in (("newest", ""), ("of a service", "?service_id=service-7")):
            url = f"{stack.api_url}/incidents{query}"
            alone = wrk.ask(url, SECONDS, headers=headers, connections=1)
            found = wrk.ask(url, SECONDS, headers=headers, connections=CONNECTIONS)
            figures += [
                Figure(f"{name}, p99", found.p99_ms, "ms", GOAL_MS, "goal"),
                Figure(name, found.per_s, "requests/s"),
                Figure(f"{name}, on one connection, p99", alone.p99_ms, "ms", GOAL_MS, "goal"),
            ]
    return figures
