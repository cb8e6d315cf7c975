"""time-to-incident: from the POST of a service's first error to the incident's showing in the API.

Each trial has a service of its own with 35 quiet minutes behind it, then posts as many errors as
the rule asks for, one after the other, and waits until `GET /incidents` shows the incident;
`time-under-load` does so while other services log a lot. The first trials, while servers and flow
warm up, are not counted. There is no limit to hold it against but the time of one POST and one GET,
which is given.
"""

import math
import statistics
import sys
import time
from datetime import datetime, timedelta, timezone

import httpx

from bench.measurement import Figure
from stack.commands import CHECKOUT, Stack
from stack.processes import Process, end_with_starter
from stack.running import temporary
from stack.timescale import DURABLE
from stack.waiting import wait_until
from tocsin.detection import DetectionSettings

ID = "time-to-incident"
UNDER_LOAD = "time-under-load"
LOAD_PER_S = 20_000
LOAD_SERVICES = 50
QUIET_MINUTES = 35
WARM_UP = 10
BORDER_S = 3
ERRORS = DetectionSettings().minimum_count + 1


def run(trials: int) -> list[Figure]:
    """Return median, 99th percentile, the longest and the two requests' own time, in ms."""
    with temporary(settings=DURABLE) as stack:
        _start(stack)
        return _figures(stack, trials)


def run_under_load(trials: int) -> list[Figure]:
    """Return the same while 20,000 records of other services come in every second."""
    with temporary(settings=DURABLE) as stack:
        _start(stack)
        start_load(stack, LOAD_PER_S, LOAD_SERVICES)
        return _figures(stack, trials)


def start_load(stack: Stack, per_s: int, services: int) -> Process:
    """Start what sends so many records of so many services every second, until the stack ends."""
    words = ("-m", "bench.load", stack.kafka_bootstrap, str(per_s), str(services))
    argv = end_with_starter([sys.executable, *words], "TERM")
    log = stack.folder / "log/load.log"
    stack.processes["load"] = Process("load", argv, log=log, cwd=CHECKOUT)
    return stack.processes["load"]


def _start(stack: Stack) -> None:
    stack.migrate()
    stack.create_credentials()
    stack.start("api")
    stack.start("flow")
    stack.wait_ready()


def _figures(stack: Stack, trials: int) -> list[Figure]:
    with httpx.Client(base_url=stack.api_url, timeout=30) as client:
        reader = {"Authorization": f"Bearer {access_token(stack)}"}
        writer = {"Authorization": f"Bearer {stack.state.ingest_key}"}
        took = [
            _trial(stack, client, reader, writer, f"trial-{number:03d}")
            for number in range(WARM_UP + trials)
        ][WARM_UP:]
        floor = statistics.median(_requests_ms(client, reader, writer) for _ in range(20))
    # The nearest rank: of a hundred trials the second longest.
    p99 = sorted(took)[math.ceil(0.99 * len(took)) - 1]
    return [
        Figure("median", statistics.median(took), "ms", floor, "one POST and one GET"),
        Figure("p99", p99, "ms"),
        Figure("longest", max(took), "ms"),
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
    wait_until(_is_far_from_the_border, "the next minute", deadline_s=10)
    began = time.perf_counter()
    for _ in range(ERRORS):
        record = _record(service_id, datetime.now(timezone.utc), "ERROR")
        client.post("/ingest", json=record, headers=writer).raise_for_status()

    def visible() -> bool:
        stack.require_running()
        query = {"limit": "1", "service_id": service_id}
        answer = client.get("/incidents", params=query, headers=reader).raise_for_status()
        return bool(answer.json()["data"])

    wait_until(visible, f"the incident of {service_id}", deadline_s=30, every_s=0.002)
    return (time.perf_counter() - began) * 1000


def _is_far_from_the_border() -> bool:
    """Whether so few errors will all be of one minute, as the rule asks for."""
    return time.time() % 60 < 60 - BORDER_S


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


def access_token(stack: Stack) -> str:
    """Return a token of the stack's admin."""
    who = {"email": stack.state.admin_email, "password": stack.state.admin_password}
    answer = httpx.post(f"{stack.api_url}/auth/login", json=who, timeout=30)
    return str(answer.raise_for_status().json()["access_token"])
