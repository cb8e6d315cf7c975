"""`POST /loki/api/v1/push`: Loki's protocol, as Promtail, Alloy and logging libraries send it."""

from collections.abc import Callable, Sequence
from typing import Any

from sanic import HTTPResponse, Request

from api.bodies import JSON, require_media_type
from api.encodings import unsnap
from api.idempotency import PARAMETER
from api.intake import UNKNOWN_SERVICE, Batch, Intake, MappedRecord, instant_of_ns
from api.lines import level_of_line
from api.loki_messages import (
    Entry,
    Stream,
    entry_of_json,
    entry_of_protobuf,
    read_json,
    read_protobuf,
)
from api.openapi import INGEST_KEY, Shape, operation
from api.otlp_messages import PROTOBUF
from api.problems import Refusal
from tocsin.field_names import FieldNames
from tocsin.records import Refused, level_of

TEXT = "text/plain; charset=utf-8"
_TEXT_SCHEMA = {"type": "string", "description": "what is wrong, as text"}


def refuse(_request: Request, refusal: Refusal) -> HTTPResponse:
    """Answer in plain text, as Loki does."""
    return HTTPResponse(
        f"{refusal.detail}\n".encode(errors="replace"),
        status=refusal.status,
        headers=refusal.headers,
        content_type=TEXT,
    )


class Loki:
    """Takes streams of lines in Loki's protocol."""

    def __init__(self, intake: Intake, names: FieldNames) -> None:
        self._intake = intake
        self._names = names

    @operation(
        summary="Push log lines as to Loki",
        description=(
            "A label names the service, a label or the structured metadata the level, or else the "
            "line; the names are a setting. Other labels are kept as metadata. 204 when Kafka has "
            "acknowledged every entry; 400, in plain text, names the entries that were not taken: "
            "the others were. Protobuf is compressed by snappy."
        ),
        content={
            JSON: {
                "type": "object",
                "description": '`{"streams": [{"stream": {…}, "values": [["ns", "line", {…}]]}]}`',
            },
            PROTOBUF: {
                "type": "string",
                "format": "binary",
                "description": "`logproto.PushRequest` in a block of snappy",
            },
        },
        answers={204: {}},
        errors=(400, 401, 413, 415, 429, 503),
        parameters=[PARAMETER],
        security=INGEST_KEY,
        shape=Shape(refuse, {"text/plain": _TEXT_SCHEMA}),
    )
    async def post(self, request: Request) -> HTTPResponse:
        """Publish the good entries of a push and name the bad ones."""
        sender = await self._intake.sender(request)
        kind = require_media_type(request, JSON, PROTOBUF)
        body = self._body(request, kind)
        read = read_json if kind == JSON else read_protobuf
        streams = read(body, self._intake.records_max)
        count = sum(len(stream.entries) for stream in streams)
        await self._intake.require_room(request, sender, count)
        batch = self._intake.batch(request, sender, body)
        self._add(streams, entry_of_json if kind == JSON else entry_of_protobuf, batch)
        del streams  # it may be large, and Kafka slow
        await self._intake.publish("loki", batch.taken, batch.refused)
        if batch.refused:
            number = len(batch.refused)
            raise Refusal(400, f"{number} of {count} entries not taken: {batch.reasons()}")
        return HTTPResponse(status=204)

    def _body(self, request: Request, kind: str) -> bytes:
        if kind == JSON:
            return self._intake.body(request)
        # Snappy is part of the format; some clients name it as the body's encoding as well.
        coding = request.headers.get("content-encoding", "").strip().lower()
        body = request.body if coding == "snappy" else self._intake.body(request)
        return unsnap(body, self._intake.bytes_max)

    def _add(
        self, streams: Sequence[Stream], entry_of: Callable[[Any], Entry], batch: Batch
    ) -> None:
        index = 0
        for stream in streams:
            labels = dict(stream.labels)
            service_id = _take(labels, self._names.service_id)
            level = _known_level(labels, self._names.level)
            for entry in stream.entries:
                try:
                    batch.add(index, self._mapped(entry_of(entry), labels, service_id, level))
                except Refused as reason:
                    batch.refuse(index, reason)
                index += 1

    def _mapped(
        self, entry: Entry, labels: dict[str, str], service_id: str | None, level: str | None
    ) -> MappedRecord:
        extra = entry.extra
        own_level = _known_level(extra, self._names.level)
        service_id = service_id or _take(extra, self._names.service_id)
        return MappedRecord(
            timestamp=instant_of_ns(entry.nanoseconds),
            service_id=service_id or UNKNOWN_SERVICE,
            level=own_level or level or level_of_line(entry.line),
            message=entry.line,
            metadata={**labels, **extra} or None,
        )


def _take(labels: dict[str, str], names: Sequence[str]) -> str | None:
    """Take the first of the names that is there out of the labels."""
    return next((labels.pop(name) for name in names if labels.get(name)), None)


def _known_level(labels: dict[str, str], names: Sequence[str]) -> str | None:
    """Take the first of the names whose value is a level; `unknown`, as Loki says, is none."""
    for name in names:
        if text := labels.get(name):
            try:
                level = level_of(text)
            except Refused:
                continue
            del labels[name]
            return level
    return None
