"""What the load consists of: the records of a fleet, each a function of its service and number.

Event time is not the wall clock's: a minute of it is so many records long, however long those take
to arrive. So a disturbed and an undisturbed run have the same windows, dense with errors in some.
"""

import random
from datetime import datetime, timedelta, timezone
from typing import Final

import msgspec
from msgspec import Struct

HISTORY_WINDOWS: Final = 36
"""Before the faults: short windows, so that every service has a baseline."""
QUIET_RECORDS: Final = 12
BUSY_RECORDS: Final = 240
TAIL_WINDOWS: Final = 14
"""After the faults: as short, so that every incident ends by calm within the load."""
_BURST_EVERY: Final = 12
_BURST_WINDOWS: Final = 3
_BURST_ERRORS: Final = 60
_STRAGGLER: Final = 0.01
_LATE: Final = 0.002
_NO_STRAGGLER_BEFORE: Final = 24


class Course(Struct, frozen=True):
    """A fleet's records.

    start: event time of the first. seed: of what is left to chance.
    """

    start: datetime
    seed: int

    def record(self, service: str, number: int, *, with_id: bool) -> bytes:
        """Return the number-th record of a service, as JSON."""
        window, place, size = self._place(number)
        chance = random.Random(f"{self.seed} {service} {number}")
        level = "ERROR" if place < self._errors(service, window) else "INFO"
        at = self.start + timedelta(minutes=window, seconds=60 * place / size)
        lot = chance.random()
        if window > _NO_STRAGGLER_BEFORE:
            if lot < _LATE:
                at -= timedelta(minutes=20)
            elif lot < _STRAGGLER:
                at -= timedelta(seconds=90)
        return self._encode(service, number, at, level, with_id=with_id)

    def tail(self, service: str, last: int) -> list[bytes]:
        """Return the quiet end of a service whose last record had this number."""
        window, _, _ = self._place(last)
        return [
            self._encode(
                service,
                last + 1 + i,
                self.start + timedelta(minutes=window + 1, seconds=60 * i / QUIET_RECORDS),
                "INFO",
                with_id=False,
            )
            for i in range(TAIL_WINDOWS * QUIET_RECORDS)
        ]

    def _place(self, number: int) -> tuple[int, int, int]:
        """Return the window of a record, its place there, and the window's size."""
        busy = number - HISTORY_WINDOWS * QUIET_RECORDS
        if busy < 0:
            return number // QUIET_RECORDS, number % QUIET_RECORDS, QUIET_RECORDS
        return HISTORY_WINDOWS + busy // BUSY_RECORDS, busy % BUSY_RECORDS, BUSY_RECORDS

    def _errors(self, service: str, window: int) -> int:
        chance = random.Random(f"{self.seed} {service} {window}")
        phase = random.Random(f"{self.seed} {service}").randrange(4)
        since = window - HISTORY_WINDOWS - phase
        if since >= 0 and since % _BURST_EVERY < _BURST_WINDOWS:
            return _BURST_ERRORS + chance.randrange(30)
        return chance.randrange(3)

    @staticmethod
    def _encode(service: str, number: int, at: datetime, level: str, *, with_id: bool) -> bytes:
        record = {
            "timestamp": at.astimezone(timezone.utc).isoformat(timespec="microseconds"),
            "service_id": service,
            "level": level,
            "message": f"{level} number {number} of {service}",
            "metadata": {"number": number},
        }
        return msgspec.json.encode({**record, "id": str(number)} if with_id else record)
