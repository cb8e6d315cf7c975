"""`POST /v1/logs`: OTLP over HTTP, as OpenTelemetry's SDKs and Collector send it."""

from sanic import HTTPResponse, Request

from api.bodies import JSON, media_type_of, require_media_type
from api.idempotency import PARAMETER
from api.intake import Intake
from api.openapi import INGEST_KEY, Content, Shape, operation
from api.otlp_messages import PROTOBUF, Encoding, Json, Protobuf
from api.otlp_records import add_records, count_records, groups_of
from api.problems import Refusal

_ENCODINGS: dict[str, type[Protobuf] | type[Json]] = {PROTOBUF: Protobuf, JSON: Json}
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 413: 3, 415: 3, 429: 8, 503: 14}
"""google.rpc.Code of each status."""
_INTERNAL = 13


def _content(message: str) -> Content:
    said = f"`{message}`"
    return {
        PROTOBUF: {"type": "string", "format": "binary", "description": said},
        JSON: {"type": "object", "description": said},
    }


def refuse(request: Request, refusal: Refusal) -> HTTPResponse:
    """Answer a google.rpc.Status in the encoding of the request."""
    given = media_type_of(request)
    encoding = _ENCODINGS.get(given, Json)()
    message = refusal.detail.encode(errors="replace").decode()
    return HTTPResponse(
        encoding.status(_CODES.get(refusal.status, _INTERNAL), message),
        status=refusal.status,
        headers=refusal.headers,
        content_type=encoding.media_type,
    )


class Otlp:
    """Takes log records in OpenTelemetry's protocol."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    @operation(
        summary="Send log records by OTLP/HTTP",
        description=(
            "`service.name` of the resource is the service, the severity's number the level. "
            "Traces' ids, attributes, resource and scope are kept as metadata. Records that cannot "
            "be taken are counted in `partial_success`; when none can be, the answer is 400. "
            "Errors are a `google.rpc.Status` in the encoding of the request."
        ),
        content=_content("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest"),
        answers={200: _content("opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse")},
        errors=(400, 401, 413, 415, 429, 503),
        parameters=[PARAMETER],
        security=INGEST_KEY,
        shape=Shape(refuse, _content("google.rpc.Status")),
        tag="opentelemetry",
    )
    async def post(self, request: Request) -> HTTPResponse:
        """Publish the good records of a request and count the others."""
        sender = await self._intake.sender(request)
        encoding: Encoding = _ENCODINGS[require_media_type(request, *_ENCODINGS)]()
        body = self._intake.body(request)
        groups = groups_of(encoding.read(body), self._intake.records_max)
        count = count_records(groups)
        await self._intake.require_room(request, sender, count)
        batch = self._intake.batch(request, sender, body)
        add_records(groups, encoding, batch)
        del groups  # they may be large, and Kafka slow
        await self._intake.publish("otlp", batch.taken, batch.refused)
        if count and not batch.taken:
            raise Refusal(400, f"no record can be taken: {batch.reasons()}")
        answer = encoding.success(len(batch.refused), batch.reasons())
        return HTTPResponse(answer, content_type=encoding.media_type)
