"""A detector's state as a value that nobody changes: what the dataflow's recovery keeps."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from flows.baseline import Baseline, GuardedBaseline
from flows.history import History
from flows.incident import Incident
from flows.incidents import Incidents
from flows.rows import IncidentEvent, IncidentRow, WindowRow
from flows.windows import Window, Windows
from tocsin.detection import SettingsTimeline

SNAPSHOT_FORMAT: Final = 5


class OpenWindow(Struct, frozen=True, gc=False, array_like=True):
    """An open window; its settings are those that the timeline has for it."""

    number: int
    errors: int
    total: int
    plain: Baseline
    guarded: GuardedBaseline | None


class FrozenWindows(Struct, frozen=True, gc=False, array_like=True):
    """The windows of a service; `counters` and `columns` in the order of the functions below."""

    first: int
    counters: tuple[int, ...]
    previous: OpenWindow
    present: OpenWindow
    span: int
    columns: tuple[bytes, ...]
    changed: tuple[int, ...]


class FrozenIncidents(Struct, frozen=True, gc=False, array_like=True):
    """The incidents of a service, each a copy that nobody changes."""

    open: Incident | None
    resolved_window: int | None
    silence: Incident | None
    newest_silence: int | None
    changed: tuple[bool, bool]
    ended: tuple[Incident, ...]
    events: tuple[IncidentEvent, ...]


class Pending(Struct, frozen=True, gc=False, array_like=True):
    """Rows that were built, but not drained."""

    windows: tuple[WindowRow, ...]
    incidents: tuple[IncidentRow, ...]


class DetectorSnapshot(Struct, frozen=True, gc=False, array_like=True):
    """All state of a detector but its settings."""

    format: int
    service_id: str
    offset: int | None
    windows: FrozenWindows | None
    incidents: FrozenIncidents
    pending: Pending


def freeze_windows(windows: Windows) -> FrozenWindows:
    """Return the state of a service's windows."""
    return FrozenWindows(
        first=windows.first,
        counters=(
            windows.newest,
            windows.gap,
            windows.too_late,
            windows.offset,
            windows.arrival_ms,
            windows.now_ms,
        ),
        previous=_freeze_window(windows.previous),
        present=_freeze_window(windows.present),
        span=windows.history.span,
        columns=windows.history.columns(),
        changed=tuple(sorted(windows.history.changed)),
    )


def thaw_windows(frozen: FrozenWindows, timeline: SettingsTimeline) -> Windows:
    """Return the windows whose state this is."""
    kept = timeline.versions[0].kept_windows
    history = History.from_columns(kept, frozen.span, frozen.columns)
    history.changed.update(frozen.changed)
    windows = Windows(
        frozen.first,
        history,
        timeline,
        _thaw_window(frozen.previous, timeline),
        _thaw_window(frozen.present, timeline),
    )
    (
        windows.newest,
        windows.gap,
        windows.too_late,
        windows.offset,
        windows.arrival_ms,
        windows.now_ms,
    ) = frozen.counters
    windows.adopt(timeline)
    return windows


def freeze_incidents(incidents: Incidents) -> FrozenIncidents:
    """Return the state of a service's incidents."""
    silences, journal = incidents.silences, incidents.journal
    return FrozenIncidents(
        open=_copied(incidents.open),
        resolved_window=incidents.resolved_window,
        silence=_copied(silences.open),
        newest_silence=silences.newest,
        changed=(incidents.changed, silences.changed),
        ended=tuple(replace(incident) for incident in journal.ended),
        events=tuple(journal.events),
    )


def thaw_incidents(frozen: FrozenIncidents, service_id: str) -> Incidents:
    """Return the incidents whose state this is."""
    incidents = Incidents(service_id)
    silences, journal = incidents.silences, incidents.journal
    incidents.open = _copied(frozen.open)
    incidents.resolved_window = frozen.resolved_window
    silences.open = _copied(frozen.silence)
    silences.newest = frozen.newest_silence
    incidents.changed, silences.changed = frozen.changed
    journal.ended = [replace(incident) for incident in frozen.ended]
    journal.events = list(frozen.events)
    return incidents


def _copied(incident: Incident | None) -> Incident | None:
    return None if incident is None else replace(incident)


def _freeze_window(window: Window) -> OpenWindow:
    return OpenWindow(window.number, window.errors, window.total, window.plain, window.guarded)


def _thaw_window(frozen: OpenWindow, timeline: SettingsTimeline) -> Window:
    settings = timeline.at(frozen.number)
    window = Window(frozen.number, settings, frozen.plain, frozen.guarded)
    window.errors, window.total = frozen.errors, frozen.total
    return window
