"""Every route on one screen."""

from api.audit import Audit
from api.backtests import Backtests
from api.elastic import Elastic
from api.elastic_start import SET_UP, ElasticStart
from api.evidence import Evidence
from api.health import Health
from api.incident_changes import IncidentDesk
from api.incidents import Incidents
from api.ingest import Ingest
from api.ingest_keys import IngestKeys
from api.intake import Intake
from api.labels import Labels
from api.login import Logins
from api.logs import Logs
from api.loki import Loki
from api.openapi import Route
from api.otlp import Otlp
from api.stats import Stats
from api.tail import LiveTail
from api.users import Users
from tocsin.field_names import FieldNames


def ingest_routes(intake: Intake, start: ElasticStart, names: FieldNames) -> tuple[Route, ...]:
    """Return what takes logs, in every format."""
    elastic = Elastic(intake, names)
    return (
        Route("POST", "/ingest", Ingest(intake).post),
        Route("POST", "/v1/logs", Otlp(intake).post),
        Route("POST", "/loki/api/v1/push", Loki(intake, names).post),
        *(
            Route(method, path, elastic.bulk)
            for path in ("/_bulk", "/<index:str>/_bulk")
            for method in ("POST", "PUT")
        ),
        Route("GET", "/_license", start.license),
        Route("GET", "/_xpack", start.xpack),
        Route("GET", "/_cluster/health", start.health),
        Route("GET", "/_cat/health", start.health),
        *(Route("GET", f"{path}/<name:str>", start.found) for path in SET_UP),
        *(Route("PUT", f"{path}/<name:str>", start.acknowledge) for path in SET_UP),
    )


def people_routes(
    *, logins: Logins, users: Users, keys: IngestKeys, audit: Audit
) -> tuple[Route, ...]:
    """Return what people log in by and admins look after."""
    return (
        Route("POST", "/auth/login", logins.login),
        Route("POST", "/auth/refresh", logins.refresh),
        Route("POST", "/auth/logout", logins.logout),
        Route("POST", "/users", users.create),
        Route("GET", "/users", users.list),
        Route("GET", "/users/<user_id:str>", users.get),
        Route("PATCH", "/users/<user_id:str>", users.change),
        Route("DELETE", "/users/<user_id:str>", users.delete),
        Route("POST", "/keys", keys.create),
        Route("GET", "/keys", keys.list),
        Route("DELETE", "/keys/<key_id:str>", keys.revoke),
        Route("GET", "/audit", audit.list),
    )


def console_routes(
    *,
    incidents: Incidents,
    desk: IncidentDesk,
    evidence: Evidence,
    labels: Labels,
    logs: Logs,
    tail: LiveTail,
    stats: Stats,
    backtests: Backtests,
    health: Health,
) -> tuple[Route, ...]:
    """Return what shows incidents, logs, statistics and backtests, and what works on them."""
    return (
        Route("GET", "/incidents", incidents.list),
        Route("GET", "/incidents/<incident_id:str>", incidents.get),
        Route("GET", "/incidents/<incident_id:str>/logs", evidence.logs),
        Route("GET", "/incidents/<incident_id:str>/timeline", evidence.timeline),
        Route("GET", "/incidents/<incident_id:str>/explain", evidence.explain),
        Route("POST", "/incidents", desk.open),
        Route("PATCH", "/incidents/<incident_id:str>", desk.change),
        Route("DELETE", "/incidents/<incident_id:str>", desk.delete),
        Route("POST", "/incidents/<incident_id:str>/acknowledge", desk.acknowledge),
        Route("POST", "/incidents/<incident_id:str>/resolve", desk.resolve),
        Route("POST", "/incidents/<incident_id:str>/comments", desk.comment),
        *(
            Route(method, "/incidents/<incident_id:str>/label", answer)
            for method, answer in (
                ("GET", labels.get),
                ("PUT", labels.put),
                ("DELETE", labels.delete),
            )
        ),
        Route("GET", "/logs", logs.search),
        Route("GET", "/logs/tail", tail.follow),
        Route("GET", "/services", stats.list_services),
        Route("GET", "/stats/services", stats.services),
        Route("GET", "/stats/services/<service_id:str>/baseline", stats.baseline),
        Route("GET", "/stats/messages", stats.messages),
        *_backtest_routes(backtests),
        Route("GET", "/healthz", health.live),
        Route("GET", "/readyz", health.ready),
    )


def _backtest_routes(backtests: Backtests) -> tuple[Route, ...]:
    one = "/backtests/<backtest_id:str>"
    return (
        Route("POST", "/backtests", backtests.start),
        Route("GET", "/backtests", backtests.list),
        Route("GET", one, backtests.get),
        Route("GET", f"{one}/result", backtests.result),
        Route("GET", f"{one}/page", backtests.page),
        Route("POST", f"{one}/cancel", backtests.cancel),
        Route("DELETE", one, backtests.delete),
    )
