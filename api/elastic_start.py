"""What shippers ask an Elasticsearch before they send: is it there, which is it, may I set it up.

Tocsin has no templates, policies and pipelines. It says that they are there, so that nobody makes
one or waits for it, and keeps none that it is given.
"""

from sanic import HTTPResponse, Request

from api.bodies import JSON
from api.docs import lead
from api.elastic_answers import SHAPE, VERSION, answer, asks_as_client, described
from api.intake import Intake
from api.openapi import INGEST_KEY, operation

SET_UP = (
    "/_index_template",
    "/_component_template",
    "/_template",
    "/_ilm/policy",
    "/_ingest/pipeline",
    "/_data_stream",
)
"""What shippers set up, each by a name; the answer is the same."""
_TAG = "elasticsearch"


class ElasticStart:
    """Answers what shippers ask first."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def root(self, request: Request) -> HTTPResponse:
        """Tell a client of Elasticsearch what this is; lead everybody else to the page."""
        if not asks_as_client(request):
            return await lead(request)
        await self._intake.sender(request)
        version = {
            "number": VERSION,
            "build_flavor": "default",
            "build_type": "docker",
            "lucene_version": "9.12.2",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        }
        about = {"name": "tocsin", "cluster_name": "tocsin", "cluster_uuid": "tocsin"}
        return answer(request, {**about, "version": version, "tagline": "You Know, for Search"})

    root.__refuse__ = SHAPE.refuse  # type: ignore[attr-defined]  # as `operation` does

    @operation(
        summary="Say which licence this Elasticsearch has",
        answers={200: described("`license`, of type `basic`")},
        errors=(401, 503),
        security=INGEST_KEY,
        shape=SHAPE,
        tag=_TAG,
    )
    async def license(self, request: Request) -> HTTPResponse:
        """Answer a basic licence: nothing that costs is there."""
        await self._intake.sender(request)
        known = {"status": "active", "uid": "tocsin", "type": "basic", "mode": "basic"}
        return answer(request, {"license": known})

    @operation(
        summary="Say which features this Elasticsearch has",
        answers={200: described("`features`, each `available` and `enabled` or not")},
        errors=(401, 503),
        security=INGEST_KEY,
        shape=SHAPE,
        tag=_TAG,
    )
    async def xpack(self, request: Request) -> HTTPResponse:
        """Answer that there is no feature to use, but for security."""
        await self._intake.sender(request)
        off, on = {"available": False, "enabled": False}, {"available": True, "enabled": True}
        license_ = {"uid": "tocsin", "type": "basic", "mode": "basic", "status": "active"}
        features = {"ilm": off, "monitoring": off, "security": on, "ml": off}
        return answer(request, {"license": license_, "features": features})

    @operation(
        summary="Say that this Elasticsearch takes documents",
        answers={200: described("`status`, `green`")},
        errors=(401, 503),
        security=INGEST_KEY,
        shape=SHAPE,
        tag=_TAG,
    )
    async def health(self, request: Request) -> HTTPResponse:
        """Answer green; `/readyz` tells more."""
        await self._intake.sender(request)
        told = {"cluster_name": "tocsin", "status": "green", "timed_out": False}
        return answer(request, {**told, "number_of_nodes": 1, "number_of_data_nodes": 1})

    @operation(
        summary="Say that a template, policy, pipeline or data stream is there",
        answers={200: described("by its name, empty")},
        errors=(401, 503),
        security=INGEST_KEY,
        shape=SHAPE,
        tag=_TAG,
    )
    async def found(self, request: Request, name: str) -> HTTPResponse:
        """Answer that it is there, so that nobody makes it."""
        await self._intake.sender(request)
        if "_index_template" in request.path:
            return answer(request, {"index_templates": [{"name": name, "index_template": {}}]})
        return answer(request, {name: {}})

    @operation(
        summary="Take a template, policy, pipeline or data stream, and keep nothing of it",
        content={JSON: {"description": "whatever the shipper sets up"}},
        body_optional=True,
        answers={200: described("`acknowledged`, true")},
        errors=(401, 503),
        security=INGEST_KEY,
        shape=SHAPE,
        tag=_TAG,
    )
    async def acknowledge(self, request: Request, name: str) -> HTTPResponse:  # noqa: ARG002 (what it is called does not matter)
        """Acknowledge it."""
        await self._intake.sender(request)
        return answer(request, {"acknowledged": True})
