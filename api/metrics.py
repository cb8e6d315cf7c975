"""What the API tells Prometheus, each under a name of its own.

Counters count since the API started. Of several processes the numbers are sums.
"""

from collections import Counter as Counts
from collections.abc import Iterable
from functools import cache

from prometheus_client import Counter, Gauge, Histogram
from sanic import Request
from sanic.constants import HTTP_METHODS

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_METHODS = frozenset(method.value for method in HTTP_METHODS)
_FIELDS = frozenset({"id", "level", "message", "metadata", "record", "service_id", "timestamp"})
"""What a reason for refusing a record begins with; anything else was named by the client."""

REQUESTS = Counter("tocsin_api_requests", "Requests answered", ["route", "method", "status"])
REQUEST_SECONDS = Histogram(
    "tocsin_api_request_seconds",
    "Time from a request's head to its answer",
    ["route", "method"],
    buckets=_SECONDS,
)
RATE_LIMITED = Counter("tocsin_api_rate_limited", "Requests refused as too many", ["limit"])
for _limit in ("account", "address", "key", "logins", "requests"):
    RATE_LIMITED.labels(_limit)  # from the start, else no rate would show the first
ACCEPTED = Counter("tocsin_api_records_accepted", "Records that Kafka has acknowledged", ["format"])
REFUSED = Counter(
    "tocsin_api_records_refused",
    "Records that break the contract, by the field that does",
    ["format", "reason"],
)
PUBLISH_SECONDS = Histogram(
    "tocsin_api_publish_seconds",
    "Time that Kafka took to acknowledge, or not, what was sent at once",
    ["outcome"],
    buckets=_SECONDS,
)
RECORDS_IN_FLIGHT = Gauge(
    "tocsin_api_records_in_flight",
    "Records that wait for Kafka's acknowledgement",
    multiprocess_mode="sum",
)
BYTES_IN_FLIGHT = Gauge(
    "tocsin_api_bytes_in_flight",
    "Bytes that wait for Kafka's acknowledgement",
    multiprocess_mode="sum",
)
POOL_CONNECTIONS = Gauge(
    "tocsin_api_pool_connections",
    "Connections to the database",
    ["state"],
    multiprocess_mode="sum",
)
POOL_WAITING = Gauge(
    "tocsin_api_pool_waiting",
    "Requests that wait for a connection to the database",
    multiprocess_mode="sum",
)
BACKTESTS_RUNNING = Gauge(
    "tocsin_api_backtests_running", "Backtests that run", multiprocess_mode="sum"
)
BACKTESTS_ENDED = Counter("tocsin_api_backtests", "Backtests that ended, by how", ["state"])

CONFIRMED = PUBLISH_SECONDS.labels("confirmed")
UNCONFIRMED = PUBLISH_SECONDS.labels("unconfirmed")


def count_request(request: Request, status: int, seconds: float | None) -> None:
    """Count an answer. seconds: None where there was no whole head."""
    route = request.route.path if request.route is not None else ""
    method = request.method
    answered, took = _children(route, method if method in _METHODS else "other", status)
    answered.inc()
    if seconds is not None:
        took.observe(seconds)


def count_accepted(wire_format: str, count: int) -> None:
    """Count records that Kafka has."""
    _accepted(wire_format).inc(count)


def count_refused(wire_format: str, reasons: Iterable[str]) -> None:
    """Count records that were refused, by why."""
    for reason, count in Counts(map(reason_class, reasons)).items():
        _refused(wire_format, reason).inc(count)


def reason_class(reason: str) -> str:
    """Return the field that a reason names, `unknown_field` or `other`: no word of a client."""
    field = reason.partition(":")[0].partition(".")[0]
    if field in _FIELDS:
        return field
    return "unknown_field" if ": unknown field, " in reason else "other"


# To look up a child by its labels costs more than to count with it.
@cache
def _children(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    template = "/" + route.replace("<", "{").replace(":str>", "}") if route else "none"
    return (
        REQUESTS.labels(template, method, str(status)),
        REQUEST_SECONDS.labels(template, method),
    )


_accepted = cache(ACCEPTED.labels)
_refused = cache(REFUSED.labels)
