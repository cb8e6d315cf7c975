"""`POST /ingest`: records in, each checked by itself, answered when Kafka has them all."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from time import time_ns
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from sanic import HTTPResponse, Request

from api.bodies import JSON, ShortAnswer, TooDeep, decode, require_media_type
from api.idempotency import PARAMETER, RetryIds, retry_ids
from api.intake import Intake, RefusedRecord
from api.openapi import INGEST_KEY, operation
from api.problems import Refusal
from api.publisher import Keyed
from tocsin.records import (
    EPOCH,
    LEVEL_ALIASES,
    MESSAGE_BYTES_MAX,
    Level,
    RecordId,
    Refused,
    ServiceId,
    event_us_of,
    level_of,
    parse_record,
    refuse_untimely,
)
from tocsin.stretches import STRETCH, StandsOut, parse_stretch

_LINES = ("application/x-ndjson", "application/jsonl")
_LINES_SCHEMA = {"type": "string", "description": "a record in each line"}
_LEVEL_NAMES = [*(level.value for level in Level), *LEVEL_ALIASES]
_LEVEL_NAMES += [name.lower() for name in _LEVEL_NAMES]
_ARRAY = msgspec.json.Decoder(list[Raw])
_SINGLE = msgspec.json.Decoder(Raw)
_encode = msgspec.json.Encoder().encode
_SPACE = b" \t\r\n"
_MARKS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_FEW = 4
"""So many records cost less one by one than as a stretch."""
_MARKS_MAX = 500_000
"""So many marks are looked at one by one, within half a second."""


class SentRecord(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A log record as it is sent over HTTP; what checks it is `tocsin.records`."""

    timestamp: (
        Annotated[
            datetime,
            Meta(tz=True, description="RFC 3339 with an offset; left out: the time of receipt"),
        ]
        | UnsetType
    ) = UNSET
    service_id: ServiceId
    level: Annotated[
        str,
        Meta(
            description="In any case; those after FATAL are aliases",
            extra_json_schema={"enum": _LEVEL_NAMES},
        ),
    ]
    message: Annotated[str, Meta(description=f"At most {MESSAGE_BYTES_MAX} bytes of UTF-8")]
    metadata: Annotated[dict[str, Any] | None, Meta(description="Anything else, as JSON")] = None
    id: Annotated[
        RecordId | None,
        Meta(description="Your own; one id of a service within ten minutes is one record"),
    ] = None


class IngestAnswer(Struct, frozen=True):
    """How many records Kafka has acknowledged, and which were not taken."""

    accepted: int
    refused: list[RefusedRecord]


class Ingest:
    """Takes records in Tocsin's own format."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    @operation(
        summary="Send log records",
        description=(
            "One record, an array of them, or one in each line. The answer comes when Kafka has "
            "acknowledged every record that was taken, on all in-sync replicas. One bad record "
            "does not sink the others: `refused` names it and says why. When none can be taken, "
            "the answer is 400. "
            "After a 503 any part of the request may have been stored: send it again, with record "
            "ids or an `Idempotency-Key`, so that none counts twice."
        ),
        body=SentRecord,
        one_or_many=True,
        content=dict.fromkeys(_LINES, _LINES_SCHEMA),
        parameters=[PARAMETER],
        answers={202: IngestAnswer},
        errors=(400, 401, 413, 415, 429, 503),
        security=INGEST_KEY,
    )
    async def post(self, request: Request) -> HTTPResponse:
        """Publish the good records of a request and name the bad ones."""
        sender = await self._intake.sender(request)
        kind = require_media_type(request, JSON, *_LINES)
        body = self._intake.body(request)
        raws = split_records(body) if kind == JSON else split_lines(body)
        await self._intake.require_room(request, sender, len(raws))
        ids = retry_ids(request, sender.name, body)
        taken, refused = check_records(raws, received_ms=time_ns() // 1_000_000, ids=ids)
        if sender.scope is not None:
            taken, outside = sender.scope.part(taken, {row.index for row in refused})
            refused += [RefusedRecord(index, reason) for index, reason in outside]
            refused.sort(key=lambda row: row.index)
        await self._intake.publish("tocsin", taken, refused)
        if not taken:
            raise Refusal(400, "no record can be taken", members={"refused": refused})
        return ShortAnswer(_encode(IngestAnswer(len(taken), refused)), 202)


def split_lines(body: bytes) -> list[Raw]:
    """Cut a body into its lines, each a record not yet checked. Refuses what is empty."""
    raws = [Raw(line) for part in body.split(b"\n") if (line := part.strip(_SPACE))]
    if not raws:
        raise Refusal(400, "body: empty, send a record in each line")
    return raws


def split_records(body: bytes) -> list[Raw]:
    """Cut a body into its records, not yet checked. Refuses what is empty or not JSON."""
    first = body.lstrip(_SPACE)[:1]
    if not first:
        raise Refusal(400, "body: empty, send a record or an array of records")
    raws = _array(body) if first == b"[" else [decode(body, _SINGLE)]
    if not raws:
        raise Refusal(400, "body: an empty array, send at least one record")
    return raws


def _array(body: bytes) -> list[Raw]:
    try:
        return decode(body, _ARRAY)
    except TooDeep:
        return _deep_array(body)


def _deep_array(body: bytes) -> list[Raw]:
    """Cut an array that holds a record nested too deeply to be read: it sinks no other.

    Only brackets, commas and strings are looked at; each record is still to be parsed.
    """
    cuts: list[int] = []
    depth = 0
    for number, mark in enumerate(_MARKS.finditer(body)):
        first = mark[0][:1]
        if first in b"[{":
            depth += 1
        elif first in b"]}":
            depth -= 1
        if depth == 0 or (depth == 1 and (first == b"," or not cuts)):
            cuts.append(mark.start())
        if depth == 0 or number == _MARKS_MAX:
            break
    if depth or body[cuts[-1] + 1 :].strip(_SPACE):
        raise TooDeep
    return [Raw(body[a + 1 : b].strip(_SPACE)) for a, b in pairwise(cuts)]


def check_records(
    raws: list[Raw], *, received_ms: int, ids: RetryIds | None = None
) -> tuple[list[Keyed], list[RefusedRecord]]:
    """Check each record by itself, giving those without a timestamp the time of receipt.

    ids: those of records that have none of their own, if the request may be sent again.
    A record goes on as its client wrote it: it is decoded once to be checked, never encoded again.
    """
    taken: list[Keyed] = []
    refused: list[RefusedRecord] = []
    if ids is not None or len(raws) <= _FEW:
        _check_each(raws, 0, received_ms, ids, taken, refused)
        return taken, refused
    for first in range(0, len(raws), STRETCH):
        part = list(map(bytes, raws[first : first + STRETCH]))
        try:
            stretch = parse_stretch(part, [received_ms] * len(part))
        except StandsOut:
            _check_each(part, first, received_ms, None, taken, refused)
        else:
            taken += zip(map(str.encode, stretch.service_id), part, strict=True)
    return taken, refused


def _check_each(
    raws: Iterable[Raw | bytes],
    first: int,
    received_ms: int,
    ids: RetryIds | None,
    taken: list[Keyed],
    refused: list[RefusedRecord],
) -> None:
    for index, raw in enumerate(raws, first):
        try:
            taken.append(_check(bytes(raw), received_ms, ids.of(index) if ids else None))
        except Refused as reason:
            refused.append(RefusedRecord(index, str(reason)))


def _check(raw: bytes, received_ms: int, id_: str | None) -> Keyed:
    if b'"timestamp"' not in raw:
        raw = _stamped(raw, received_ms)
    try:
        record = parse_record(raw)
    except Refused as reason:
        if str(reason) != "timestamp: missing":
            raise
        # The word stood in some text of the record, not as its field.
        raw = _stamped(raw, received_ms)
        record = parse_record(raw)
    level_of(record.level)
    refuse_untimely(event_us_of(record.timestamp), received_ms)
    if id_ is not None and record.id is None:
        # It stands last, for the last field of a name wins: there may be one that is null.
        raw = b'%b,"id":"%b"}' % (raw.rstrip(_SPACE)[:-1], id_.encode())
    return record.service_id.encode(), raw


def _stamped(raw: bytes, received_ms: int) -> bytes:
    """Put a timestamp first into an object; a field of that name further on would win."""
    if raw[:1] != b"{":
        return raw
    rest = raw[1:].lstrip(_SPACE)
    return _stamp(received_ms) + (rest if rest[:1] == b"}" else b"," + rest)


@lru_cache(maxsize=16)  # the same for all of a request's records
def _stamp(received_ms: int) -> bytes:
    received = EPOCH + timedelta(milliseconds=received_ms)
    moment = received.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f'{{"timestamp":"{moment}"'.encode()
