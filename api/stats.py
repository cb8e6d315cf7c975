"""Statistics over HTTP: how much services log, what is normal for them, which errors are many."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, get_args
from urllib.parse import unquote_to_bytes

from sanic import HTTPResponse, Request

from api.bodies import json_answer
from api.openapi import TOKEN, operation
from api.parameters import (
    SERVICE_CHARACTERS_MAX,
    SERVICES_PARAMETER,
    Parameter,
    Parameters,
    TimeRange,
    checked_text,
    range_parameters,
)
from api.problems import Refusal
from api.series import (
    Baselines,
    MessageMeta,
    MessageShape,
    Service,
    ServiceCounts,
    ServiceList,
    ServiceListMeta,
    TopMessages,
    baselines,
    service_counts,
    steps_of,
)
from api.sessions import Sessions
from api.turnstile import Turnstile
from sql.statistics import Statistics, Step

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
BASELINE_RANGE_MAX = timedelta(days=2)
MESSAGES_RANGE_MAX = timedelta(days=7)
MESSAGES_LOOKED_AT_MAX = 20_000
MESSAGE_CHARACTERS = 300
_STEPS = get_args(Step)
STEP_RANGES_MAX = dict(
    zip(_STEPS, (timedelta(days=1), timedelta(days=31), timedelta(days=366)), strict=True)
)
_FINE_ENOUGH = {"minute": timedelta(hours=6), "hour": timedelta(days=7)}

_LIMIT: Parameter = {
    "name": "limit",
    "in": "query",
    "description": "How many at most",
    "schema": {
        "type": "integer",
        "minimum": 1,
        "maximum": LIMIT_MAX,
        "default": LIMIT_DEFAULT,
    },
}
_STEP: Parameter = {
    "name": "step",
    "in": "query",
    "description": (
        "How long a step is: `minute` up to 1 day, `hour` up to 31 days, `day` up to 366 days. "
        "Where not given, minutes up to 6 hours, hours up to 7 days"
    ),
    "schema": {"type": "string", "enum": list(_STEPS)},
}
_AFTER: Parameter = {
    "name": "after",
    "in": "query",
    "description": "Only services whose names come after this one: `meta.next` of the page before",
    "schema": {"type": "string", "minLength": 1, "maxLength": SERVICE_CHARACTERS_MAX},
}


class Stats:
    """Shows everyone who may log in what the services do."""

    def __init__(
        self,
        statistics: Statistics,
        sessions: Sessions,
        turnstile: Turnstile,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._statistics = statistics
        self._sessions = sessions
        self._turnstile = turnstile
        self._now = now

    @operation(
        summary="Count the records and errors of services, step by step",
        description=(
            "Of the services with the most errors. `from` and `to` are widened to whole steps, "
            "whose beginnings are `meta.starts`; a step without a record counts 0, and its error "
            "rate is null."
        ),
        parameters=(
            SERVICES_PARAMETER,
            *range_parameters(default="one hour", most="what `step` allows"),
            _STEP,
            _LIMIT,
        ),
        answers={200: ServiceCounts},
        errors=(400, 401, 503, 504),
        security=TOKEN,
    )
    async def services(self, request: Request) -> HTTPResponse:
        """Answer the counts of services."""
        await self._sessions.require(request)
        names = ("service_id", "from", "to", "step", "limit")
        parameters = Parameters(request, names, several=("service_id",))
        span = self._span(parameters, timedelta(hours=1), STEP_RANGES_MAX["day"])
        step = _step(parameters, span)
        starts = steps_of(span, step)
        limit = parameters.whole("limit", LIMIT_DEFAULT, LIMIT_MAX)
        async with self._turnstile.passing():
            rows = await self._statistics.counts(
                step,
                services=parameters.services(),
                since=starts[0],
                until=starts[-1],
                limit=limit,
            )
        return json_answer(service_counts(rows, starts, step))

    @operation(
        summary="Show what is normal for a service, minute by minute",
        description=(
            "Every minute of the range with its errors, both baselines, and the verdict: a chart "
            "of `errors` between `lower` and `upper` shows why it fired, or did not. `upper` is "
            "the mean and as many standard deviations as the settings' threshold, 3 by default."
        ),
        parameters=range_parameters(default="3 hours", most="2 days"),
        answers={200: Baselines},
        errors=(400, 401, 503, 504),
        security=TOKEN,
    )
    async def baseline(self, request: Request, service_id: str) -> HTTPResponse:
        """Answer the windows of a service with their baselines."""
        await self._sessions.require(request)
        name = _service(service_id)
        span = self._span(
            Parameters(request, ("from", "to")), timedelta(hours=3), BASELINE_RANGE_MAX
        )
        async with self._turnstile.passing():
            rows = await self._statistics.windows(name, since=span.since, until=span.until)
            book = await self._statistics.settings()
        return json_answer(baselines(name, span, rows, book))

    @operation(
        summary="List the most frequent error messages",
        description=(
            "Of ERROR and FATAL records, grouped by what is left when ids and numbers are taken "
            f"out. Of each the first {MESSAGE_CHARACTERS} characters count, and of the range the "
            f"newest {MESSAGES_LOOKED_AT_MAX} errors: where there are more, `meta.complete` is "
            "false."
        ),
        parameters=(
            SERVICES_PARAMETER,
            *range_parameters(default="one hour", most="7 days"),
            _LIMIT,
        ),
        answers={200: TopMessages},
        errors=(400, 401, 503, 504),
        security=TOKEN,
    )
    async def messages(self, request: Request) -> HTTPResponse:
        """Answer the most frequent errors."""
        await self._sessions.require(request)
        names = ("service_id", "from", "to", "limit")
        parameters = Parameters(request, names, several=("service_id",))
        span = self._span(parameters, timedelta(hours=1), MESSAGES_RANGE_MAX)
        limit = parameters.whole("limit", LIMIT_DEFAULT, LIMIT_MAX)
        async with self._turnstile.passing():
            rows = await self._statistics.messages(
                services=parameters.services(),
                since=span.since,
                until=span.until,
                # One more tells whether these were all.
                sample=MESSAGES_LOOKED_AT_MAX + 1,
                characters=MESSAGE_CHARACTERS,
                limit=limit,
            )
        looked_at = rows[0].looked_at if rows else 0
        meta = MessageMeta(
            since=span.since,
            until=span.until,
            errors=looked_at,
            complete=looked_at <= MESSAGES_LOOKED_AT_MAX,
        )
        return json_answer(TopMessages([MessageShape.of(row) for row in rows], meta))

    @operation(
        summary="List the services",
        description="By name, with what is open. To go on, send `meta.next` as `after`.",
        parameters=(_AFTER, _LIMIT),
        answers={200: ServiceList},
        errors=(400, 401, 503, 504),
        security=TOKEN,
    )
    async def list_services(self, request: Request) -> HTTPResponse:
        """Answer the services that have logged."""
        await self._sessions.require(request)
        parameters = Parameters(request, ("after", "limit"))
        after = parameters.text("after", most=SERVICE_CHARACTERS_MAX) or ""
        limit = parameters.whole("limit", LIMIT_DEFAULT, LIMIT_MAX)
        async with self._turnstile.passing():
            rows = await self._statistics.services(after=after, limit=limit + 1)
        shown = [Service.of(row) for row in rows[:limit]]
        following = shown[-1].service_id if len(rows) > limit else None
        return json_answer(ServiceList(shown, ServiceListMeta(limit, following)))

    def _span(self, parameters: Parameters, default: timedelta, most: timedelta) -> TimeRange:
        return parameters.time_range(default=default, most=most, now=self._now())


def _step(parameters: Parameters, span: TimeRange) -> Any:
    """Return the step that is asked for, if it is not too fine, or one that suits the range."""
    asked = parameters.choice("step", _STEPS)
    if asked is None:
        fitting = (step for step, most in _FINE_ENOUGH.items() if span.length <= most)
        return next(fitting, "day")
    if span.length > STEP_RANGES_MAX[asked]:
        days = STEP_RANGES_MAX[asked].days
        raise Refusal(400, f"step: {asked} is for up to {days} days, ask for less or longer steps")
    return asked


def _service(service_id: str) -> str:
    """Return a service's name as it stands in a path."""
    try:
        name = unquote_to_bytes(service_id).decode()
    except UnicodeDecodeError:
        raise Refusal(400, "the path is not UTF-8, percent-encoded") from None
    return checked_text("service_id", name, SERVICE_CHARACTERS_MAX)
