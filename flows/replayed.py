"""What a backtest comes to: every candidate's incidents, and what there was to judge."""

from array import array

from msgspec import Struct

from flows.rows import IncidentRow
from tocsin.settings_versions import SettingsBook, SettingsVersion

LIVE = "live"
"""Name of the candidate that is what the live flow judges by."""


class Candidate(Struct, frozen=True):
    """Detection settings to be tried.

    name: "live", or what they change of it, as "sigma=2.5 min-count=3".
    versions: oldest first; each judges the windows from its start on, as live.
    """

    name: str
    versions: tuple[SettingsVersion, ...]

    @property
    def book(self) -> SettingsBook:
        """The versions by service."""
        return SettingsBook(self.versions, read_ms=2**62)


class Series(Struct, frozen=True):
    """What the records of the scored range counted of one service: one number a minute.

    first_start_ms: start of the first window. errors, total: on time. late_errors, late_total:
        late, but while the window was kept. All of one length; minutes without records are zero.
    """

    first_start_ms: int
    errors: "array[int]"
    total: "array[int]"
    late_errors: "array[int]"
    late_total: "array[int]"


class Replay(Struct, frozen=True):
    """A range judged again.

    begin_ms, end_ms: the scored range, in arrivals; the end is exclusive. Of what ended early: up
        to where it came.
    candidates: in the order in which they were given.
    incidents: one list a candidate: those that were opened, or still open, within the range; by
        opening and service.
    series: by service.
    records: judged, without repeats. dead_letters: put aside. Both of the scored range alone.
    ended_early: it was stopped before the end of the range.
    source: what was read, as a person named it.
    """

    begin_ms: int
    end_ms: int
    candidates: list[Candidate]
    incidents: list[list[IncidentRow]]
    series: dict[str, Series]
    records: int
    dead_letters: int
    ended_early: bool
    source: str

    @property
    def late(self) -> int:
        """How many records came when their minute was over, also too late to be counted."""
        return self.records - sum(sum(series.total) for series in self.series.values())
