"""The application: its wiring, and what it opens and closes."""

import secrets
from types import SimpleNamespace

from sanic import Sanic
from sanic.config import Config
from sanic.exceptions import RequestCancelled

from api.addresses import Addresses
from api.answers import Answers
from api.audit import Audit
from api.auth import Tokens
from api.backtest_runs import BacktestRuns
from api.backtests import Backtests
from api.connections import ApiRequest
from api.cors import Cors
from api.counts import counts_of
from api.docs import Docs
from api.elastic_start import ElasticStart
from api.evidence import Evidence
from api.exposition import Exposition, is_on_the_api
from api.gauges import Gauges
from api.health import Health
from api.incident_changes import IncidentDesk
from api.incidents import Incidents
from api.ingest_keys import IngestKeys
from api.intake import Intake
from api.key_use import KeyUse
from api.keys import KeyRing
from api.labels import Labels
from api.limits import Limits
from api.login import Logins
from api.logs import SEARCHES_AT_ONCE, SEARCHES_WAITING_MAX, Logs
from api.openapi import Route
from api.passwords import Passwords
from api.problems import answer_exception
from api.publisher import Publisher
from api.routes import console_routes, ingest_routes, people_routes
from api.sessions import Sessions
from api.stats import Stats
from api.tail import LiveTail
from api.tails import Tails
from api.turnstile import Turnstile
from api.users import Users
from sql.audit import AuditTable
from sql.backtests import BacktestTable
from sql.incident_changes import IncidentChanges
from sql.incidents import IncidentTable
from sql.keys import KeyTable
from sql.labels import LabelTable
from sql.logs import LogTable
from sql.reader import Reader
from sql.sessions import SessionTable
from sql.statistics import Statistics
from sql.users import UserTable
from tocsin.settings import Settings, load_settings

_SHUTDOWN_MARGIN_S = 5.0
_HEAD_BYTES_MAX = 8 * 1024
_START_S = 0.01
"""How often a server that was told to stop while it starts looks whether it has started."""


class App(Sanic[Config, SimpleNamespace]):
    """Sanic, except that it may be told to stop while it starts, and more than once.

    Sanic would end the step of its start that the loop is at, and with luck serve on for ever; or
    end the step of its end, and leave what it still answers.
    """

    def stop(self, terminate: bool = True, unregister: bool = False) -> None:
        """Stop, at once or as soon as the loop runs for good."""
        if self.state.is_stopping:
            return
        if self.state.is_running:
            self.state.is_stopping = True
            super().stop(terminate, unregister)
        else:
            self.loop.call_later(_START_S, self.stop, terminate, unregister)


def create_app(*, settings: Settings | None = None, name: str | None = None) -> App:
    """Return the application; nothing is connected before its server starts.

    settings: from the environment where not given. name: must be unlike that of any other
    application in the process. Raises SettingsError.
    """
    settings = settings or load_settings()
    reader = Reader(settings.database_url)
    publisher = Publisher(settings)
    incidents, changes = IncidentTable(reader), IncidentChanges(reader)
    logs = LogTable(reader, timeout_s=settings.search_timeout_s)
    statistics = Statistics(reader, timeout_s=settings.search_timeout_s)
    tails = Tails(settings)
    searches = Turnstile("searches", at_once=SEARCHES_AT_ONCE, waiting_max=SEARCHES_WAITING_MAX)
    users, audit, keys = UserTable(reader), AuditTable(reader), KeyTable(reader)
    addresses = Addresses(settings)
    sessions = Sessions(settings, SessionTable(reader), Tokens(settings), addresses)
    limits = Limits(settings, addresses, counts_of(settings.limit_storage))
    passwords = Passwords()
    use = KeyUse(keys)
    backtests = BacktestTable(reader)
    runs = BacktestRuns(backtests)
    ring = KeyRing(keys, use)
    cors = Cors(settings)
    answers = Answers(settings, cors)
    app = App(
        name or f"tocsin-{secrets.token_hex(4)}",
        config=_config(settings),
        request_class=ApiRequest,
        configure_logging=False,
    )
    intake = Intake(settings, ring, limits, publisher)
    start = ElasticStart(intake)
    routes = (
        *ingest_routes(intake, start, settings.field_names),
        *people_routes(
            logins=Logins(users, audit, sessions, passwords, limits),
            users=Users(settings, users, sessions, passwords, limits),
            keys=IngestKeys(keys, ring, sessions),
            audit=Audit(audit, sessions),
        ),
        *console_routes(
            incidents=Incidents(incidents, sessions),
            desk=IncidentDesk(incidents, changes, sessions),
            evidence=Evidence(incidents, sessions),
            labels=Labels(LabelTable(reader), sessions),
            logs=Logs(settings, logs, sessions, searches),
            tail=LiveTail(tails, sessions),
            stats=Stats(statistics, sessions, searches),
            backtests=Backtests(settings, reader, backtests, runs, sessions),
            health=Health(reader, publisher),
        ),
    )
    docs = Docs(routes)
    app.ctx.description = docs.description
    for route in routes:
        app.add_route(route.handler, route.path, methods=_methods(route.method), name=_name(route))
    pages = [("/", start.root), ("/docs", docs.page), ("/docs/openapi.json", docs.document)]
    if is_on_the_api(settings):
        pages.append(("/metrics", Exposition(settings).get))
    for path, handler in pages:
        app.add_route(handler, path, methods=_methods("GET"))
    if cors.is_on:
        _add_preflights(app, cors)
    for kind in (Exception, RequestCancelled):  # the latter is no Exception
        app.error_handler.add(kind, answer_exception)
    if limits.counts_requests:
        app.register_middleware(limits.request, "request")
    app.register_middleware(answers.finish, "response")
    app.before_server_stop(answers.close)
    _live_with(app, reader, publisher, passwords, use, limits, tails, runs)
    return app


def _methods(method: str) -> list[str]:
    """Return what a route answers: whatever can be got has a head."""
    return ["GET", "HEAD"] if method == "GET" else [method]


def _add_preflights(app: App, cors: Cors) -> None:
    """Have every path tell browsers with which methods other origins may ask for it."""
    methods: dict[str, set[str]] = {}
    for route in app.router.routes:
        methods.setdefault(f"/{route.path}", set()).update(route.methods)
    for path, allowed in methods.items():
        listed = ", ".join(sorted(allowed))
        name = _name(Route("OPTIONS", path, cors.preflight))
        app.add_route(cors.preflight, path, methods=["OPTIONS"], name=name, ctx_methods=listed)


def _name(route: Route) -> str:
    return f"{route.method}_{route.path}".lower().translate(str.maketrans("/<:>", "____"))


def _config(settings: Settings) -> Config:
    return Config(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "MOTD": False,
            "FALLBACK_ERROR_FORMAT": "json",
            "REQUEST_MAX_SIZE": settings.max_body_bytes,
            "REQUEST_MAX_HEADER_SIZE": _HEAD_BYTES_MAX,
            "REQUEST_TIMEOUT": settings.client_timeout_s,
            "KEEP_ALIVE_TIMEOUT": settings.keep_alive_s,
            "RESPONSE_TIMEOUT": max(60.0, settings.publish_timeout_s * 2),
            # What was accepted is answered, however long Kafka may take to acknowledge it.
            "GRACEFUL_SHUTDOWN_TIMEOUT": settings.publish_timeout_s + _SHUTDOWN_MARGIN_S,
        },
        env_prefix="",
    )


def _live_with(
    app: App,
    reader: Reader,
    publisher: Publisher,
    passwords: Passwords,
    use: KeyUse,
    limits: Limits,
    tails: Tails,
    runs: BacktestRuns,
) -> None:
    """Open what the application needs when its server starts, close it when it has answered all."""
    gauges = Gauges(reader, publisher)

    async def connect(_app: App) -> None:
        await reader.open()
        publisher.start()
        use.start()
        gauges.start()
        tails.start()

    async def end_tails(_app: App) -> None:
        tails.stop()

    async def disconnect(_app: App) -> None:
        gauges.stop()
        await runs.stop()
        await publisher.stop()
        await use.stop()
        await limits.close()
        await reader.close()
        passwords.close()

    app.before_server_start(connect)
    app.before_server_stop(end_tails)  # else their answers would never be whole
    app.after_server_stop(disconnect)
