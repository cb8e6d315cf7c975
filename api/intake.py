"""What every format of logs shares: whose request it is, its body, its bounds, its end in Kafka."""

from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from sanic import Request

from api.encodings import body_of
from api.idempotency import RetryIds, retry_ids
from api.keys import KeyRing, SentKey
from api.limits import Limits
from api.metrics import count_accepted, count_refused
from api.parameters import SERVICE_CHARACTERS_MAX
from api.problems import Refusal
from api.publisher import Keyed, Publisher
from tocsin.records import (
    AGE_DAYS_MAX,
    AHEAD_MS_MAX,
    EPOCH,
    LEVELS,
    LogRecord,
    Refused,
    event_us_of,
    level_of,
    parse_record,
    refuse_untimely,
)
from tocsin.settings import Settings

BODY_TIMES = 4
"""So many times a body's bound its records may take, for what they share comes to each."""
UNKNOWN_SERVICE = "unknown_service"
"""The service of a record that names none, as in OpenTelemetry."""
_TOLD_MAX = 5
_PLAIN_BYTES_MAX = 10_000
"""Nothing in so short a record is too long."""
_BRACKETS_MAX = 200
"""So many can be nested in each other wherever a record is decoded."""
_SHALLOW_BYTES_MAX = 2 * _BRACKETS_MAX
"""So short a record cannot open and close more."""

_encode = msgspec.json.Encoder().encode


class MappedRecord(Struct, omit_defaults=True, gc=False):
    """A record made of another format's, not yet checked.

    level: empty where its sender gave none, for INFO. metadata: whatever encodes as an object.
    """

    timestamp: datetime
    service_id: str
    level: str
    message: str
    metadata: Any = None
    id: str | UnsetType | None = UNSET


class RefusedRecord(Struct, frozen=True):
    """A record that was not taken, by its place in the request, and why."""

    index: int
    reason: str


class Intake:
    """Lets requests in and their records out to Kafka, the same for every format."""

    def __init__(
        self, settings: Settings, keys: KeyRing, limits: Limits, publisher: Publisher
    ) -> None:
        self._keys = keys
        self._limits = limits
        self._publisher = publisher
        self.records_max = settings.max_batch_records
        self.bytes_max = settings.max_body_bytes

    def sender(self, request: Request) -> Awaitable[SentKey]:
        """Return the ingest key that a request carries; refuse without a good one."""
        return self._keys.require(request)

    def body(self, request: Request) -> bytes:
        """Return the body without its Content-Encoding. Refuses what is over the limit."""
        return body_of(request, self.bytes_max)

    def batch(self, request: Request, sender: SentKey, body: bytes) -> "Batch":
        """Return the batch that a request's records go into. body: without its encoding."""
        return Batch(request, sender, body, bytes_max=self.bytes_max * BODY_TIMES)

    def require_room(self, request: Request, sender: SentKey, count: int) -> Awaitable[None]:
        """Refuse more records than a request may carry (413), or its sender send now (429)."""
        require_few(count, self.records_max, "records")
        return self._limits.records(request, sender.id, count)

    async def publish(
        self, wire_format: str, taken: Sequence[Keyed], refused: Sequence[RefusedRecord]
    ) -> None:
        """Return when Kafka has acknowledged every record that was taken; count all.

        Raises BrokerError.
        """
        if refused:
            count_refused(wire_format, (row.reason for row in refused))
        if taken:
            await self._publisher.publish(taken)
            count_accepted(wire_format, len(taken))


class Batch:
    """The records of one request that came in another format, each checked by itself.

    bytes_max: how much they may take together, good and bad ones.
    """

    def __init__(self, request: Request, sender: SentKey, body: bytes, *, bytes_max: int) -> None:
        self.received = datetime.now(timezone.utc)
        self.taken: list[Keyed] = []
        self.refused: list[RefusedRecord] = []
        self._received_ms = event_us_of(self.received) // 1000
        arrival = EPOCH + timedelta(milliseconds=self._received_ms)
        self._first = arrival - timedelta(days=AGE_DAYS_MAX)
        self._last = arrival + timedelta(milliseconds=AHEAD_MS_MAX)
        self._scope = sender.scope
        self._bytes_max = bytes_max
        self._bytes = 0
        self._ids: RetryIds | None = retry_ids(request, sender.name, body)

    def add(self, index: int, record: MappedRecord) -> None:
        """Take a record, or raise Refused with the reason. Refuses (413) all that are too much."""
        raw = self._encoded(index, record)
        self._take(parse_record(raw), raw)

    def add_decoded(self, index: int, record: MappedRecord) -> None:
        """Do as `add`, but cheaper, for a record of which nothing stands as its sender wrote it.

        Each field is of its type, and all of the metadata was decoded: so its numbers are within
        range, its texts Unicode, and only what is odd, long or deep needs to be decoded again.
        """
        raw = self._encoded(index, record)
        if not self._is_plain(record, raw):
            self._take(parse_record(raw), raw)
            return
        if self._scope is not None:
            self._scope.require(record.service_id)
        self.taken.append((record.service_id.encode(), raw))

    def _encoded(self, index: int, record: MappedRecord) -> bytes:
        if self._ids is not None and not record.id:
            record.id = self._ids.of(index)
        try:
            raw = _encode(record)
        except UnicodeEncodeError:
            raise Refused("record: not Unicode") from None
        except RecursionError:
            raise Refused("record: nested too deeply") from None
        self._bytes += len(raw)
        if self._bytes > self._bytes_max:
            raise Refusal(
                413,
                f"records: more than {self._bytes_max} bytes once each holds what several share, "
                "send fewer at once",
            )
        return raw

    def _is_plain(self, record: MappedRecord, raw: bytes) -> bool:
        """Whether a record is surely taken, whatever its service may be."""
        return (
            record.level in LEVELS
            and 0 < len(record.service_id) <= SERVICE_CHARACTERS_MAX
            and record.id is UNSET
            and self._first <= record.timestamp <= self._last
            and len(raw) <= _PLAIN_BYTES_MAX
            and raw.find(b"\\u0000") < 0
            and (len(raw) <= _SHALLOW_BYTES_MAX or _brackets(raw) <= _BRACKETS_MAX)
        )

    def _take(self, checked: LogRecord, raw: bytes) -> None:
        if self._scope is not None:
            self._scope.require(checked.service_id)
        level_of(checked.level)
        refuse_untimely(event_us_of(checked.timestamp), self._received_ms)
        self.taken.append((checked.service_id.encode(), raw))

    def refuse(self, index: int, reason: Refused) -> None:
        """Note why a record was not taken."""
        self.refused.append(RefusedRecord(index, str(reason)))

    def reasons(self) -> str:
        """Return the first few refusals in a line."""
        told = [f"record {row.index}: {row.reason}" for row in self.refused[:_TOLD_MAX]]
        more = len(self.refused) - len(told)
        return "; ".join([*told, f"and {more} more"] if more else told)


def _brackets(raw: bytes) -> int:
    return raw.count(b"[") + raw.count(b"{")


def require_few(count: int, most: int, what: str) -> None:
    """Refuse (413) more of something than is taken at once."""
    if count > most:
        raise Refusal(413, f"{count} {what}, at most {most} are taken at once")


def instant_of_ns(nanoseconds: int) -> datetime:
    """Return the time that is so many nanoseconds after the epoch, or raise Refused."""
    try:
        return EPOCH + timedelta(0, 0, nanoseconds // 1000)
    except OverflowError:
        raise Refused("timestamp: outside the years 1 to 9999") from None
