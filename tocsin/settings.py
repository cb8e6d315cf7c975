"""The settings of a process: read once from the environment, checked, frozen."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from tocsin import settings_told
from tocsin.errors import SettingsError
from tocsin.field_names import FieldNames

JWT_SECRET_BYTES_MIN = 32
_PREFIX = "TOCSIN_"
PASSWORD_VARIABLE = "TOCSIN_PASSWORD"  # noqa: S105 (its name, not its value)
_NO_SETTINGS = frozenset({PASSWORD_VARIABLE, "TOCSIN_URL"})  # read by clients of the API

TOPIC_NAME = r"^[A-Za-z0-9._-]{1,200}$(?!\n)"  # `$` alone matches before a last newline, too
_RATE = r"^(off|[1-9][0-9]{0,11}/(second|minute|hour|day))$(?!\n)"
_LIMIT_STORAGE = r"^(memory|(redis|rediss|valkey|valkeys)://\S+)$(?!\n)"

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Rate = Annotated[str, Meta(pattern=_RATE, title="a rate or `off`")]
Topic = Annotated[
    str, Meta(pattern=TOPIC_NAME, title="1 to 200 of the characters A-Z a-z 0-9 . _ -")
]
Days = Annotated[int, Meta(ge=0, le=36_500)]


def _variable(name: str) -> str:
    return name.upper() if name in {"database_url", "kafka_bootstrap"} else _PREFIX + name.upper()


class Settings(Struct, frozen=True, rename=_variable, kw_only=True):
    """What a process must know about its surroundings. `Meta.description` is each one's help."""

    database_url: Annotated[
        str, Meta(description="PostgreSQL with TimescaleDB, as postgresql://user:password@host/db")
    ] = "postgresql://tocsin@127.0.0.1:5432/tocsin"
    kafka_bootstrap: Annotated[
        str, Meta(min_length=1, description="Kafka brokers, host:port separated by commas")
    ] = "127.0.0.1:9092"
    topic: Annotated[Topic, Meta(description="Topic that logs are read from")] = "logs"
    incidents_topic: Annotated[Topic, Meta(description="Topic of incident changes")] = "incidents"
    partitions: Annotated[
        Count, Meta(description="Partitions of the topics that `tocsin migrate` creates")
    ] = 4
    replication: Annotated[
        Count, Meta(description="Replicas of the topics that `tocsin migrate` creates")
    ] = 1
    logs_keep_days: Annotated[
        Days, Meta(description="Days that logs, and counts per minute, are kept; 0: for ever")
    ] = 400
    windows_keep_days: Annotated[
        Days, Meta(description="Days that windows with their verdicts are kept; 0: for ever")
    ] = 400
    dead_letters_keep_days: Annotated[
        Days, Meta(description="Days that dead letters are kept; 0: for ever")
    ] = 400
    logs_chunk_hours: Annotated[
        Count, Meta(le=24 * 7, description="Hours of logs in a chunk that is yet to be made")
    ] = 24
    windows_chunk_hours: Annotated[
        Count, Meta(le=24 * 30, description="Hours of windows in a chunk that is yet to be made")
    ] = 24 * 7
    columnstore_days: Annotated[
        Count,
        Meta(
            le=36_500,
            description="Days after which chunks go to the columnstore (Community edition)",
        ),
    ] = 7
    flow_password: Annotated[
        str,
        Meta(description="Password that `tocsin migrate` gives the database's role `tocsin_flow`"),
    ] = ""
    api_password: Annotated[
        str, Meta(description="Password that it gives the role `tocsin_api`")
    ] = ""
    analyst_password: Annotated[
        str, Meta(description="Password that it gives the role `analyst`, which only reads")
    ] = ""
    analyst_timeout_s: Annotated[
        Count,
        Meta(
            le=7 * 86_400,
            description="Seconds that a statement of `analyst` may take, unless it asks",
        ),
    ] = 60
    api_host: Annotated[str, Meta(description="Address that the API listens on")] = "127.0.0.1"
    api_port: Annotated[Port, Meta(description="Port that the API listens on")] = 8000
    api_workers: Annotated[Count, Meta(description="Processes of the API")] = 1
    api_metrics_host: Annotated[
        str, Meta(description="Address that the API's metrics are served on")
    ] = "127.0.0.1"
    api_metrics_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port of the API's metrics for Prometheus; 0: none; "
            "that of the API itself: there, for everybody",
        ),
    ] = 0
    client_timeout_s: Annotated[
        Seconds,
        Meta(description="Seconds that a client may take for a head, and for 64 KiB of a body"),
    ] = 10.0
    keep_alive_s: Annotated[
        Seconds, Meta(description="Seconds that an idle connection is kept open")
    ] = 75.0
    cors_origins: Annotated[
        str,
        Meta(description="Origins whose pages may call the API, separated by commas; *: any"),
    ] = ""
    cors_credentials: Annotated[
        Literal["no", "yes"],
        Meta(description="Whether such pages may send a browser's cookies and certificates"),
    ] = "no"
    hsts_s: Annotated[
        int,
        Meta(
            ge=0,
            description="Seconds that browsers shall insist on TLS; 0: unsaid; for behind TLS only",
        ),
    ] = 0
    jwt_secret: Annotated[
        str,
        Meta(description="Secret that signs access tokens, at least 32 bytes; the API needs it"),
    ] = ""
    jwt_secret_previous: Annotated[
        str,
        Meta(description="Secret before that one, whose tokens are still taken while it is set"),
    ] = ""
    jwt_ttl_s: Annotated[Count, Meta(description="Seconds that an access token is good for")] = 900
    session_ttl_s: Annotated[
        Count, Meta(description="Seconds after a login until one must log in again")
    ] = 14 * 86_400
    registration: Annotated[
        Literal["open", "closed"],
        Meta(description="Whether `POST /users` is open to everybody, or to admins only"),
    ] = "closed"
    limit_key_records: Annotated[
        Rate, Meta(description="Most records of one ingest key, as `N/minute`, or `off`")
    ] = "6000000/minute"
    limit_address_records: Annotated[Rate, Meta(description="Most records from one address")] = (
        "12000000/minute"
    )
    limit_address_requests: Annotated[
        Rate, Meta(description="Most requests of any kind from one address")
    ] = "60000/minute"
    limit_address_logins: Annotated[
        Rate, Meta(description="Most logins, good or bad, from one address")
    ] = "30/minute"
    limit_account_logins: Annotated[
        Rate, Meta(description="Most logins, good or bad, into one account")
    ] = "10/minute"
    limit_storage: Annotated[
        str,
        Meta(
            pattern=_LIMIT_STORAGE,
            title="`memory` or `redis://host:6379/0`",
            description="Where limits are counted: `memory`, in each worker for itself, or "
            "`redis://host:6379/0` (Redis, Valkey) for all together",
        ),
    ] = "memory"
    trusted_proxies: Annotated[
        str,
        Meta(
            description="Addresses or networks of proxies, separated by commas, whose "
            "X-Forwarded-For is believed"
        ),
    ] = ""
    max_body_bytes: Annotated[
        Count,
        Meta(description="Largest body that the API takes, in bytes; compressed or decompressed"),
    ] = 10 * 1024 * 1024
    max_batch_records: Annotated[
        Count, Meta(description="Most records that one request may carry")
    ] = 10_000
    field_names: Annotated[
        FieldNames,
        Meta(
            description="Names of a record's fields in other formats, the first that is there "
            "wins: `level=severity,lvl;message=text` or JSON; what is not named stays"
        ),
    ] = FieldNames()
    publish_timeout_s: Annotated[
        Seconds, Meta(description="Seconds that a request waits for Kafka before it answers 503")
    ] = 10.0
    logs_days_max: Annotated[
        Count, Meta(le=366, description="Most days that one search of the logs may span")
    ] = 7
    search_timeout_s: Annotated[
        Seconds,
        Meta(le=15, description="Seconds after which a search or a statistic is given up with 504"),
    ] = 10.0
    tails_max: Annotated[
        Count, Meta(description="Most live tails at once in each process of the API")
    ] = 50
    backtest_days_max: Annotated[
        Count, Meta(le=366, description="Most days that one backtest over HTTP may span")
    ] = 31
    database_patience_s: Annotated[
        Seconds,
        Meta(description="Seconds without a sign of the database until the flow connects anew"),
    ] = 30.0
    recovery_dir: Annotated[
        Path, Meta(description="Folder of the flow's recovery store; keep it over restarts")
    ] = Path(".tocsin/recovery")
    epoch_s: Annotated[
        Seconds, Meta(description="Seconds between two snapshots of the flow's state")
    ] = 10.0
    flow_metrics_host: Annotated[
        str, Meta(description="Address that the flow's metrics are served on")
    ] = "127.0.0.1"
    flow_metrics_port: Annotated[
        int, Meta(ge=0, le=65535, description="Port of the flow's metrics for Prometheus; 0: none")
    ] = 0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is logged")
    ] = "info"
    log_format: Annotated[
        Literal["console", "json"], Meta(description="How Tocsin's own log lines are written")
    ] = "console"

    @property
    def dead_letter_topic(self) -> str:
        """Topic of the records that were put aside."""
        return f"{self.topic}.dead-letter"

    def __repr__(self) -> str:
        """Name the class alone: values may be secrets."""
        return "Settings(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show rich no more than `repr` does."""
        return []


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment; an empty variable counts as not set.

    Raises SettingsError, one line that names the variable and what it should be.
    """
    environ = os.environ if environ is None else environ
    known = {field.encode_name for field in msgspec.structs.fields(Settings)}
    for name in environ:
        if name.startswith(_PREFIX) and name not in known | _NO_SETTINGS:
            close = get_close_matches(name, known, 1)
            hint = f", did you mean {close[0]}?" if close else ""
            raise SettingsError(f"{name}: no such setting{hint} (`tocsin settings` lists them)")
    given = {name: environ[name] for name in known if environ.get(name)}
    try:
        return msgspec.convert(given, Settings, strict=False, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise SettingsError(_complaint(where.rstrip("`"), what, given)) from None


def password() -> str | None:
    """Return the password that a command takes from the environment instead of asking for it."""
    return os.environ.get(PASSWORD_VARIABLE) or None


def require_jwt_secrets(settings: Settings) -> tuple[str, ...]:
    """Return the secret that signs tokens, then others that may have signed one.

    Raises SettingsError if the first is missing, or one is short.
    """
    if not settings.jwt_secret:
        raise SettingsError(
            "TOCSIN_JWT_SECRET: not set; make one with `openssl rand -base64 48` and set it"
        )
    _require_long("TOCSIN_JWT_SECRET", settings.jwt_secret)
    if not settings.jwt_secret_previous:
        return (settings.jwt_secret,)
    _require_long("TOCSIN_JWT_SECRET_PREVIOUS", settings.jwt_secret_previous)
    return settings.jwt_secret, settings.jwt_secret_previous


def _require_long(name: str, secret: str) -> None:
    size = len(secret.encode())
    if size < JWT_SECRET_BYTES_MIN:
        raise SettingsError(
            f"{name}: {size} bytes, at least {JWT_SECRET_BYTES_MIN} are needed; "
            "make one with `openssl rand -base64 48`"
        )


def _complaint(name: str, what: str, given: Mapping[str, str]) -> str:
    """Return what is wrong with a setting; a type that reads itself has said it."""
    field = next(one for one in msgspec.structs.fields(Settings) if one.encode_name == name)
    hint = get_type_hints(Settings, include_extras=True)[field.name]
    if get_args(hint)[0] is FieldNames:
        return f"{name}: {what[0].lower()}{what[1:]}"
    return settings_told.refused(name, given[name], hint, field.default)


def values_table(settings: Settings) -> list[tuple[str, str, str, str]]:
    """Return (variable, value in force, default, help) of every setting, without secrets."""
    values = (getattr(settings, field.name) for field in msgspec.structs.fields(Settings))
    return [
        (name, settings_told.shown(name, value), default, meaning)
        for (name, default, meaning), value in zip(settings_table(), values, strict=True)
    ]


def settings_table() -> list[tuple[str, str, str]]:
    """Return (variable, default, help) of every setting, in the order of their definition."""
    hints = get_type_hints(Settings, include_extras=True)
    return [
        (field.encode_name, _default_text(field.default), _description(hints[field.name]))
        for field in msgspec.structs.fields(Settings)
    ]


def _from_text(kind: type, text: Any) -> Any:
    if kind is Path:
        return Path(text)
    if kind is FieldNames:
        return FieldNames(text)
    raise NotImplementedError(kind)


def _default_text(default: object) -> str:
    return str(default) if default != "" else settings_told.NONE


def _description(hint: object) -> str:
    if get_origin(hint) is not Annotated:
        return ""
    described = [meta.description for meta in get_args(hint)[1:] if isinstance(meta, Meta)]
    return next((text for text in reversed(described) if text), "")
