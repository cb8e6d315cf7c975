"""`_bulk`: Elasticsearch's protocol, as Beats, Logstash, Fluent Bit and rsyslog send it."""

import time
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from sanic import HTTPResponse, Request

from api.bodies import JSON, require_media_type
from api.documents import Documents
from api.elastic_answers import SHAPE, answer, described, error
from api.idempotency import PARAMETER
from api.intake import Batch, Intake
from api.openapi import INGEST_KEY, operation
from api.problems import Refusal
from tocsin.field_names import FieldNames
from tocsin.records import Refused

NDJSON = "application/x-ndjson"
_MEDIA_TYPES = (
    NDJSON,
    JSON,
    "application/vnd.elasticsearch+x-ndjson",
    "application/vnd.elasticsearch+json",
)
_TAKEN = frozenset({"index", "create"})
_KNOWN = ", ".join(("create", "delete", "index", "update"))
_INDEX = "logs"
_INDEX_CHARACTERS_MAX = 255
_BODY = {kind: {"type": "string", "description": "lines of JSON"} for kind in _MEDIA_TYPES}
_DESCRIPTION = (
    "Lines of actions, each followed by its document. The names under which documents hold what a "
    "record holds are a setting; what else they hold is kept as metadata. `_id` becomes the "
    "record's `id`. Only `index` and `create` are taken, for logs are appended. Each item is "
    "answered by itself, and what was taken when Kafka has acknowledged it."
)


class _Meta(Struct):
    index: str | None = msgspec.field(name="_index", default=None)
    id: str | int | None = msgspec.field(name="_id", default=None)


_action = msgspec.json.Decoder(dict[str, _Meta]).decode


class Item(NamedTuple):
    """One action of a request and its document, not yet looked at; empty for a `delete`."""

    name: str
    target: str
    id: str | None
    document: bytes


class Elastic:
    """Takes documents in Elasticsearch's protocol."""

    def __init__(self, intake: Intake, names: FieldNames) -> None:
        self._intake = intake
        self._documents = Documents(names)

    @operation(
        summary="Send documents as to Elasticsearch",
        description=_DESCRIPTION,
        content=_BODY,
        answers={200: described("`took`, `errors`, and `items` in the order of the actions")},
        errors=(400, 401, 413, 415, 429, 503),
        parameters=[PARAMETER],
        security=INGEST_KEY,
        shape=SHAPE,
        tag="elasticsearch",
    )
    async def bulk(self, request: Request, index: str = _INDEX) -> HTTPResponse:
        """Publish the good documents and answer item by item."""
        began = time.monotonic()
        sender = await self._intake.sender(request)
        require_media_type(request, *_MEDIA_TYPES)
        if len(index) > _INDEX_CHARACTERS_MAX:  # every item of the answer repeats it
            raise Refusal(400, f"the index has more than {_INDEX_CHARACTERS_MAX} characters")
        body = self._intake.body(request)
        items = read_items(body, index, self._intake.records_max)
        await self._intake.require_room(request, sender, len(items))
        batch = self._intake.batch(request, sender, body)
        for number, item in enumerate(items):
            try:
                self._add(number, item, batch)
            except Refused as reason:
                batch.refuse(number, reason)
        await self._intake.publish("elastic", batch.taken, batch.refused)
        reasons = {row.index: row.reason for row in batch.refused}
        answered = [_answered(item, reasons.get(number)) for number, item in enumerate(items)]
        took = round((time.monotonic() - began) * 1000)
        return answer(request, {"errors": bool(reasons), "took": took, "items": answered})

    def _add(self, number: int, item: Item, batch: Batch) -> None:
        if item.name not in _TAKEN:
            raise Refused(f"{item.name}: logs are appended, send index or create")
        record = self._documents.read(item.document, batch.received)
        if item.id is not None:
            record.id = item.id
        batch.add(number, record)


def read_items(body: bytes, index: str, most: int) -> list[Item]:
    """Cut a body into its items, or refuse it whole, as Elasticsearch does.

    index: of those that name none. most: so many items are taken.
    """
    if not body.strip():
        raise Refusal(400, "request body is required")
    if not body.endswith(b"\n"):
        raise Refusal(400, "The bulk request must be terminated by a newline [\\n]")
    items: list[Item] = []
    lines = enumerate(body.split(b"\n")[:-1], 1)
    for number, line in lines:
        if not line.strip():
            continue
        name, meta = _read_action(line, number)
        document = b"" if name == "delete" else next(lines, (0, None))[1]
        if document is None:
            raise Refusal(400, f"the action in line [{number}] has no document")
        id_ = None if meta.id is None else str(meta.id)
        if len(items) == most:
            raise Refusal(413, f"more than {most} records, at most {most} are taken at once")
        items.append(Item(name, meta.index or index, id_, document))
    return items


def _read_action(line: bytes, number: int) -> tuple[str, _Meta]:
    try:
        ((name, meta),) = _action(line).items()
    except (ValueError, RecursionError):
        raise Refusal(
            400, f"Malformed action/metadata line [{number}], expected one action as an object"
        ) from None
    if name not in {"index", "create", "update", "delete"}:
        raise Refusal(
            400,
            f"Malformed action/metadata line [{number}], "
            f"expected one of [{_KNOWN}] but found [{name[:40]}]",
        )
    return name, meta


def _answered(item: Item, reason: str | None) -> dict[str, dict[str, Any]]:
    told: dict[str, Any] = {"_index": item.target}
    if item.id is not None:
        told["_id"] = item.id
    if reason is not None:
        kind = "document_parsing_exception" if item.name in _TAKEN else None
        return {item.name: {**told, "status": 400, "error": error(reason, kind=kind)}}
    shards = {"total": 1, "successful": 1, "failed": 0}
    return {item.name: {**told, "result": "created", "_shards": shards, "status": 201}}
