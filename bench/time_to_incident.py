"""time-to-incident: from the POST of a service's first error to the incident's showing in the API.

Each trial has a service of its own with 35 quiet minutes behind it, then posts single errors until
`GET /incidents` shows the incident. There is no limit to hold it against but the time of the two
requests themselves, which is given.
"""

import statistics
import time
from datetime import datetime, timedelta, timezone

import httpx

from bench.measurement import Figure
from stack.running import Stack, temporary
from stack.timescale import DURABLE
from stack.waiting import wait_until

ID = "time-to-incident"
QUIET_MINUTES = 35
ERRORS = 12


def run(trials: int) -> list[Figure]:
    """Return median, 99th percentile and the two requests' own time, in milliseconds."""
    with temporary(settings=DURABLE) as stack:
        stack.migrate()
        stack.create_credentials()
        stack.start("api")
        stack.start("flow")
        stack.wait_ready()
        with httpx.Client(base_url=stack.api_url, timeout=30) as client:
            reader = {"Authorization": f"Bearer {_token(client, stack)}"}
            writer = {"Authorization": f"Bearer {stack.state.ingest_key}"}
            took = [
                _trial(stack, client, reader, writer, f"trial-{number:03d}")
                for number in range(trials)
            ]
            floor = statistics.median(_requests_ms(client, reader, writer) for _ in range(20))
    ordered = sorted(took)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return [
        Figure("median", statistics.median(took), "ms", floor, "one POST and one GET"),
        Figure("p99", p99, "ms"),
    ]


def _trial(
    stack: Stack,
    client: httpx.Client,
    reader: dict[str, str],
    writer: dict[str, str],
    service_id: str,
) -> float:
    now = datetime.now(timezone.utc)
    history = [
        _record(service_id, now - timedelta(minutes=minute), "INFO")
        for minute in range(QUIET_MINUTES, 0, -1)
    ]
    client.post("/ingest", json=history, headers=writer).raise_for_status()
    began = time.perf_counter()
    for _ in range(ERRORS):
        record = _record(service_id, datetime.now(timezone.utc), "ERROR")
        client.post("/ingest", json=record, headers=writer).raise_for_status()

    def visible() -> bool:
        stack.require_running()
        newest = client.get("/incidents?limit=1", headers=reader).raise_for_status().json()["data"]
        return bool(newest) and newest[0]["service_id"] == service_id

    wait_until(visible, f"the incident of {service_id}", deadline_s=30, every_s=0.002)
    return (time.perf_counter() - began) * 1000


def _requests_ms(client: httpx.Client, reader: dict[str, str], writer: dict[str, str]) -> float:
    began = time.perf_counter()
    record = _record("idle", datetime.now(timezone.utc), "INFO")
    client.post("/ingest", json=record, headers=writer).raise_for_status()
    client.get("/incidents?limit=1", headers=reader).raise_for_status()
    return (time.perf_counter() - began) * 1000


def _record(service_id: str, when: datetime, level: str) -> dict[str, str]:
    return {
        "timestamp": when.isoformat(),
        "service_id": service_id,
        "level": level,
        "message": f"{level} of {service_id}",
    }


def _token(client: httpx.Client, stack: Stack) -> str:
    who = {"email": stack.state.admin_email, "password": stack.state.admin_password}
    return str(client.post("/auth/login", json=who).raise_for_status().json()["access_token"])
