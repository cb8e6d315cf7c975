"""A small fleet's logs: some quiet minutes of five services, then one of them breaks."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

MINUTE = timedelta(minutes=1)
BROKEN = "checkout"


@dataclass(frozen=True)
class Character:
    """How a service behaves in a quiet minute: mean records of each kind."""

    infos: float
    errors: float
    errors_spread: int
    problem: str


FLEET = {
    BROKEN: Character(20, 1, 1, "payment provider timed out"),
    "search": Character(25, 0, 0, ""),
    "recommendations": Character(15, 12, 6, "model server answered slowly"),
    "reports": Character(0.2, 0.05, 0, "no data for the day"),
    "gateway": Character(40, 2, 2, "upstream closed the connection"),
}
"""One noisy, one without any error, one nearly silent, two ordinary."""

Record = dict[str, Any]


def quiet_minutes(until: datetime, *, minutes: int, seed: int = 7) -> Iterator[list[Record]]:
    """Yield the fleet's records of each minute before the one of `until`, oldest first."""
    rng = random.Random(seed)
    start = until.replace(second=0, microsecond=0) - minutes * MINUTE
    for number in range(minutes):
        records = [
            record
            for service_id, character in FLEET.items()
            for record in _minute(rng, start + number * MINUTE, service_id, character)
        ]
        yield sorted(records, key=lambda record: str(record["timestamp"]))


def error(when: datetime, number: int) -> Record:
    """Return one record of the burst."""
    return {
        "timestamp": when.isoformat(),
        "service_id": BROKEN,
        "level": "ERROR",
        "message": f"charge of order {4200 + number} failed: provider answered 503",
        "metadata": {"order": 4200 + number, "provider": "acme-pay", "attempt": 1 + number % 3},
    }


def _minute(
    rng: random.Random, start: datetime, service_id: str, character: Character
) -> Iterator[Record]:
    errors = _around(rng, character.errors)
    if character.errors_spread:
        errors = max(0, errors + rng.randint(-character.errors_spread, character.errors_spread))
    for level, count in (("INFO", _around(rng, character.infos)), ("ERROR", errors)):
        for _ in range(count):
            yield {
                "timestamp": (start + timedelta(seconds=60 * rng.random())).isoformat(),
                "service_id": service_id,
                "level": level,
                "message": character.problem if level == "ERROR" else "request served",
                "metadata": {"ms": rng.randint(1, 400)},
            }


def _around(rng: random.Random, mean: float) -> int:
    """Round up or down at random, so that the mean is kept."""
    return int(mean) + (rng.random() < mean % 1)
