"""The main line over HTTP: history and a burst in, an incident with its evidence out."""

import statistics
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Platform, time_of

MINUTES = 12
BURST = 130  # more than a page of logs


def record(service: str, when: datetime, level: str, message: str) -> dict[str, Any]:
    return {
        "timestamp": when.isoformat(),
        "service_id": service,
        "level": level,
        "message": message,
        "metadata": {"region": "eu"},
    }


def history(service: str, start: datetime) -> list[dict[str, Any]]:
    """In each minute one INFO, and none to two ERROR records."""
    return [
        record(service, start + timedelta(minutes=minute, seconds=second), level, "as usual")
        for minute in range(MINUTES)
        for second, level in enumerate(["INFO", *["ERROR"] * (minute % 3)])
    ]


def test_burst_becomes_an_incident_that_a_person_acknowledges(
    tocsin: Platform, unique_name: Callable[[str], str]
) -> None:
    service = unique_name("checkout")
    now = datetime.now(timezone.utc)
    minute = now.replace(second=0, microsecond=0)
    quiet = history(service, minute - MINUTES * timedelta(minutes=1))
    assert tocsin.ingest(quiet) == {"accepted": len(quiet), "refused": []}
    burst = [record(service, now, "ERROR", f"card refused {n:03}") for n in range(BURST)]
    calm = record(service, now, "INFO", "not an error")
    assert tocsin.ingest([*burst, calm])["accepted"] == BURST + 1

    incident = tocsin.incident(service, lambda found: found["observed"] == BURST)
    counts = [n % 3 for n in range(MINUTES - 1)]  # the minute before the burst's is the guard
    mean, sigma = statistics.mean(counts), statistics.pstdev(counts)
    assert incident["title"].startswith("Anomaly Detected")
    assert (incident["status"], incident["severity"]) == ("OPEN", "CRITICAL")
    assert time_of(incident["window_start"]) == minute
    assert incident["baseline_windows"] == len(counts)
    assert incident["mean"] == pytest.approx(mean)
    assert incident["sigma"] == pytest.approx(sigma)
    assert incident["z"] == pytest.approx((BURST - mean) / sigma)

    path = f"/incidents/{incident['id']}"
    assert {**tocsin.get(path), "updated_at": incident["updated_at"]} == incident
    evidence = tocsin.incident_logs(incident["id"], BURST)
    assert [line["message"] for line in evidence] == [line["message"] for line in burst]
    assert {line["level"] for line in evidence} == {"ERROR"}
    assert {time_of(line["timestamp"]) for line in evidence} == {now}
    assert evidence[0]["metadata"] == {"region": "eu"}

    assert tocsin.patch(path, {"status": "ACKNOWLEDGED"})["status"] == "ACKNOWLEDGED"
    more = [record(service, now, "FATAL", "still refused") for _ in range(10)]
    tocsin.ingest(more)
    grown = tocsin.incident(service, lambda found: found["observed"] == BURST + 10)
    assert grown["id"] == incident["id"]
    assert grown["status"] == "ACKNOWLEDGED"


def test_nobody_sends_without_a_key_or_reads_without_a_token(tocsin: Platform) -> None:
    url = tocsin.stack.api_url
    now = datetime.now(timezone.utc)
    for headers in ({}, {"Authorization": "Bearer tcs_0123456789abcdef_wrong"}):
        sent = record("nobody", now, "INFO", "")
        refused = httpx.post(f"{url}/ingest", json=sent, headers=headers, timeout=30)
        assert refused.status_code == 401
        assert httpx.get(f"{url}/incidents", headers=headers, timeout=30).status_code == 401
