"""A backtest as it is asked for over HTTP: what the API takes and its child process carries out."""

from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from tocsin.errors import SettingsError
from tocsin.records import EPOCH

CANDIDATES_MAX = 500
LET_GO: Final = "the API's process that ran it has ended: start it again"
"""Why a backtest has failed whose API ended: it says so itself, or the API that had to kill it."""
_OVERRIDES_MAX = 100

Value = bool | int | float | str
Values = Annotated[list[Value], Meta(min_length=1, max_length=CANDIDATES_MAX)]
Aware = Annotated[datetime, Meta(tz=True)]
_Pattern = Annotated[str, Meta(min_length=1, max_length=128)]


class ReadFrom(str, Enum):
    """Where the records of a backtest are read from: the topic, or the table of stored logs."""

    TOPIC = "topic"
    LOGS = "logs"


class ShownView(str, Enum):
    """Which incidents are scored first and written."""

    CONFIRMED = "confirmed"
    OPENED = "opened"


class Unlabelled(str, Enum):
    """What an incident is that no label speaks of."""

    FALSE = "false"
    OPEN = "open"


class TriedOverride(Struct, frozen=True, forbid_unknown_fields=True):
    """What a candidate changes for the services that match a pattern, as `batch-*`."""

    services: _Pattern
    settings: dict[str, Value]


class TriedSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings to be tried, by a name: what they change of those that judge live."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    settings: dict[str, Value] = {}
    overrides: Annotated[list[TriedOverride], Meta(max_length=_OVERRIDES_MAX)] = []


class NewBacktest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backtest to be run: a range of arrivals, and what is tried beside the live settings.

    from: arrivals from then on. to: before then; now where it is not given. grid: values of each
    setting, of which every combination is tried; services: for those that match this pattern
    alone. candidates: settings by name. unlabelled: what an incident is that no label speaks of.
    """

    since: Aware = field(name="from")
    until: Aware | None = field(name="to", default=None)
    source: ReadFrom = ReadFrom.TOPIC
    grid: dict[str, Values] = {}
    services: _Pattern | None = None
    candidates: Annotated[list[TriedSettings], Meta(max_length=CANDIDATES_MAX)] = []
    unlabelled: Unlabelled = Unlabelled.OPEN
    view: ShownView = ShownView.CONFIRMED

    @property
    def document(self) -> dict[str, Any]:
        """The grid and the candidates as a file of them has it."""
        return {"grid": self.grid, "candidate": msgspec.to_builtins(self.candidates)}

    @property
    def from_ms(self) -> int:
        """Where the range begins."""
        return _ms(self.since)

    @property
    def to_ms(self) -> int | None:
        """Where it ends, if that is said."""
        return None if self.until is None else _ms(self.until)

    def in_utc(self) -> "NewBacktest":
        """Return the same with its times in UTC. Raises SettingsError for one that has none."""
        try:
            since = self.since.astimezone(timezone.utc)
            until = None if self.until is None else self.until.astimezone(timezone.utc)
        except OverflowError:
            raise SettingsError("from, to: give times in the years 1 to 9999") from None
        return msgspec.structs.replace(self, since=since, until=until)


def _ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)
