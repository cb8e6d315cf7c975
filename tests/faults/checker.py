"""What must hold at the end, whatever happened: every record once, and the same minutes.

Two databases that were filled from one topic are compared by everything that laws 1 and 2 promise.
Left out, and why:

* Of a window's row `offset`, `read_offset`, `arrival`, `clock_start`, `service_last`,
  `gap_windows`, `too_late`: how its service stood when the row was last written. A batch is
  written as a whole, and where it is cut depends on the pace; counts, baselines, verdicts don't.
* Of an incident `offset` and `clock_start`, for the same reason, and `opened_at`, `confirmed_at`,
  `resolved_at`: the arrival of the last record of the batch that decided. `detected_at`,
  `updated_at`, `evidence_at` are the wall clock's.
* Of the timeline `at`, `severity`, `count` and `z`: of that batch, too. So is whether there is a
  moment `escalated`: a batch that ends early in a burst has an incident opened as HIGH, which the
  next one raises; a longer batch opens it as CRITICAL at once. `seq` and `published_at`.
* Windows from the last but one of a service on are open, and what silence makes of them depends on
  how long the flow runs on.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg.rows import dict_row

from tests.faults.load import Name

_OF_THE_BATCH: Final = {
    "error_windows": {
        "read_offset",
        "offset",
        "arrival",
        "clock_start",
        "service_last",
        "gap_windows",
        "too_late",
    },
    "incidents": {
        "opened_at",
        "confirmed_at",
        "resolved_at",
        "detected_at",
        "updated_at",
        "evidence_at",
        "offset",
        "clock_start",
    },
}
_CLOSED: Final = """
    SELECT service_id, max(window_start) - INTERVAL '2 minutes' AS last
    FROM error_windows WHERE total + late_total > 0 GROUP BY service_id
"""
_SKIPPED: Final = """
    SELECT service_id FROM error_windows GROUP BY service_id, service_first
    HAVING count(*) <> extract(epoch FROM max(window_start) - min(window_start)) / 60 + 1
"""
_MOMENTS: Final = """
    SELECT incidents.service_id, incidents.window_start, kind::text, moment, events.window_start
    FROM incident_events AS events JOIN incidents ON incidents.id = incident_id
    WHERE moment <> 'escalated'
"""
_SHOWN = 5

Row = Mapping[str, Any]


class Storage(Struct, frozen=True):
    """How a database stands to what was sent."""

    lost: list[Name]
    duplicated: list[Name]
    never_sent: list[Name]
    stored: int
    counted: int
    skipped: list[str]

    def problems(self) -> list[str]:
        """Say what is wrong."""
        found = [
            f"{len(names)} {what}: {sorted(names)[:_SHOWN]}"
            for what, names in (
                ("lost", self.lost),
                ("duplicated", self.duplicated),
                ("never sent", self.never_sent),
            )
            if names
        ]
        if self.counted != self.stored:
            found.append(f"{self.stored} stored, but {self.counted} counted in windows")
        if self.skipped:
            found.append(f"windows skipped of {self.skipped}")
        return found


class Tables(Struct, frozen=True):
    """What of two databases must be equal: rows by what names them."""

    windows: dict[tuple[Any, ...], Row]
    incidents: dict[tuple[Any, ...], Row]
    moments: Counter[tuple[Any, ...]]

    def differences(self, other: "Tables") -> list[str]:
        """Say what differs, a few of each kind."""
        return [
            *_differences("window", self.windows, other.windows),
            *_differences("incident", self.incidents, other.incidents),
            *_differences("moment", self.moments, other.moments),
        ]


def read_storage(url: str, sent: Iterable[Name], acknowledged: Iterable[Name]) -> Storage:
    """Hold what is stored against what was sent."""
    with psycopg.connect(url) as conn:
        times: Counter[Name] = Counter()
        with conn.cursor("stored") as cursor:
            cursor.itersize = 50_000
            cursor.execute("SELECT service_id, (metadata->>'number')::int FROM logs")
            times.update((service, number) for service, number in cursor)
        [(counted,)] = conn.execute(
            "SELECT coalesce(sum(total + late_total), 0) FROM error_windows"
        ).fetchall()
        skipped = [service for (service,) in conn.execute(_SKIPPED).fetchall()]
    return Storage(
        lost=[name for name in acknowledged if name not in times],
        duplicated=[name for name, count in times.items() if count > 1],
        never_sent=list(times.keys() - set(sent)),
        stored=times.total(),
        counted=int(counted),
        skipped=skipped,
    )


def read_tables(url: str) -> Tables:
    """Read what two runs over one topic must have in common."""
    with psycopg.connect(url, row_factory=dict_row) as conn, psycopg.connect(url) as plain:
        last: dict[str, datetime] = dict(plain.execute(_CLOSED).fetchall())
        moments = plain.execute(_MOMENTS).fetchall()

        def rows(table: str) -> list[dict[str, Any]]:
            return [
                {name: value for name, value in row.items() if name not in _OF_THE_BATCH[table]}
                for row in conn.execute(f"SELECT * FROM {table}".encode()).fetchall()
                if row["window_start"] <= last[row["service_id"]]
            ]

        return Tables(
            windows={
                (row["service_id"], row["window_start"]): row for row in rows("error_windows")
            },
            incidents={(row["service_id"], row["id"]): row for row in rows("incidents")},
            moments=Counter(moment for moment in moments if moment[1] <= last[moment[0]]),
        )


def _differences(
    what: str, one: Mapping[tuple[Any, ...], Any], other: Mapping[tuple[Any, ...], Any]
) -> list[str]:
    names = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    if not names:
        return []
    shown = [f"{what} {name}: {_both(one.get(name), other.get(name))}" for name in names[:_SHOWN]]
    return [f"{len(names)} of {len(one.keys() | other.keys())} {what}s differ", *shown]


def _both(one: object, other: object) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        return ", ".join(
            f"{name} {value} / {other[name]}" for name, value in one.items() if value != other[name]
        )
    return f"{'there' if one else 'missing'} / {'there' if other else 'missing'}"
