"""Seeded records for the measurements: realistic sizes, many services, few errors."""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

SERVICES = 50
ERROR_SHARE = 0.05
_WORDS = (
    "request",
    "accepted",
    "order",
    "payment",
    "declined",
    "retry",
    "timeout",
    "upstream",
    "cache",
    "miss",
    "user",
    "session",
    "token",
    "refreshed",
    "queue",
    "inventory",
    "updated",
)


def wire_records(
    count: int,
    *,
    seed: int = 1,
    span_s: int = 120,
    services: int = SERVICES,
    padding: int = 0,
) -> Iterator[tuple[str, bytes]]:
    """Yield (service id, record as JSON): 200 bytes on average, in the order of their times.

    The times spread evenly over the last `span_s` seconds.
    padding: bytes that each message has more.
    """
    rng = random.Random(seed)
    start = datetime.now(timezone.utc) - timedelta(seconds=span_s)
    step = timedelta(seconds=span_s / count)
    for number in range(count):
        service_id = f"service-{rng.randrange(services):02d}"
        message = " ".join(rng.choices(_WORDS, k=rng.randint(4, 12))) + padding * "."
        record = {
            "timestamp": (start + number * step).isoformat(timespec="milliseconds"),
            "service_id": service_id,
            "level": "ERROR" if rng.random() < ERROR_SHARE else "INFO",
            "message": message,
            "metadata": {"request": f"{rng.getrandbits(48):012x}", "ms": rng.randint(1, 900)},
        }
        yield service_id, json.dumps(record, separators=(",", ":")).encode()
