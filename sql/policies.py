"""How long rows are kept, in what chunks, and when aggregates are refreshed: settings, applied."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import psycopg
from psycopg.rows import dict_row

from sql.statements import statements
from sql.timescale import Edition
from tocsin.settings import Settings

_SQL = statements("policies")

# Each refresh goes back as far as the rows below it are whole, so that no late record is missed:
# it costs only what has changed. It must not go further, for it would take the dropped rows' counts
# away. Hours are never dropped, so the days above them go back without end.
_REFRESHED: Final = {
    "logs_per_minute": (timedelta(minutes=2), timedelta(minutes=1), 24 * 60),
    "logs_per_hour": (timedelta(hours=1), timedelta(minutes=10), 24 * 31),
    "logs_per_day": (timedelta(days=1), timedelta(hours=1), 366),
}
"""Of each aggregate how far from now its refresh ends, how often it is refreshed, and in batches of
how many steps: by default of one, which makes the first refresh of a year a matter of minutes."""
_STORED: Final = ("logs", "error_windows")
_PROCEDURES: Final = {
    "columnstore": "policy_compression",
    "retention": "policy_retention",
    "refresh": "policy_refresh_continuous_aggregate",
}

Policies = Mapping[str, Mapping[str, timedelta | int | None]]
"""By relation: the numbers that are set."""


def keeping(settings: Settings) -> dict[str, timedelta | None]:
    """Return how long each table's rows are kept; None: for ever."""
    days = {
        "logs": settings.logs_keep_days,
        "error_windows": settings.windows_keep_days,
        "dead_letters": settings.dead_letters_keep_days,
    }
    return {relation: timedelta(days=number) or None for relation, number in days.items()}


def apply_policies(conn: psycopg.Connection, found: Edition, settings: Settings) -> None:
    """Bring chunks and policies to the settings, touching only what differs."""
    keep = keeping(settings)
    for relation, kept in keep.items():
        conn.execute(_SQL["upsert_retention"], {"relation": relation, "keep": kept})
    chunks = {"logs": settings.logs_chunk_hours, "error_windows": settings.windows_chunk_hours}
    for relation, hours in chunks.items():
        interval = timedelta(hours=hours)
        conn.execute(_SQL["set_chunk_interval"], {"relation": relation, "interval": interval})
    if found == "community":
        _enable_columnstore(conn)
        after = timedelta(days=settings.columnstore_days)
        _replace(conn, "columnstore", {name: {"compress_after": after} for name in _STORED})
        dropped = {
            "logs": keep["logs"],
            "logs_per_minute": keep["logs"],
            "error_windows": keep["error_windows"],
        }
        policies: Policies = {name: {"drop_after": age} for name, age in dropped.items() if age}
        _replace(conn, "retention", policies)
        _refresh_back(conn)


def follow_retention(conn: psycopg.Connection, found: Edition) -> None:
    """Let refreshes go back as far as the logs are whole.

    Again from time to time: when logs are to be kept longer than before, that is further every day.
    """
    conn.execute(_SQL["update_whole_from"])
    if found == "community":
        _refresh_back(conn)


def _refresh_back(conn: psycopg.Connection) -> None:
    [(days,)] = conn.execute(_SQL["select_whole_days"]).fetchall()
    whole = None if days is None else timedelta(days=max(days, 1))
    _replace(
        conn,
        "refresh",
        {
            name: {
                "start_offset": None if name == "logs_per_day" else whole,
                "end_offset": end,
                "schedule_interval": every,
                "buckets_per_batch": steps,
            }
            for name, (end, every, steps) in _REFRESHED.items()
        },
    )


def _replace(conn: psycopg.Connection, kind: str, wanted: Policies) -> None:
    """Make the policies of a kind those that are wanted."""
    with conn.cursor(row_factory=dict_row) as cursor:
        jobs = cursor.execute(_SQL["select_jobs"], {"procedure": _PROCEDURES[kind]}).fetchall()
    current = {job["relation"]: job for job in jobs}
    good = {
        name
        for name, numbers in wanted.items()
        if name in current and numbers.items() <= current[name].items()
    }
    for name in current.keys() - good:
        conn.execute(_SQL[f"remove_{kind}"], {"relation": name})
    for name in wanted.keys() - good:
        conn.execute(_SQL[f"add_{kind}"], {"relation": name, **wanted[name]})


def _enable_columnstore(conn: psycopg.Connection) -> None:
    for (relation,) in conn.execute(_SQL["select_without_columnstore"]).fetchall():
        conn.execute(_SQL[f"enable_columnstore_{relation}"])
