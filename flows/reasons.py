"""Why an incident was confirmed and why it ended, in words with their numbers."""

from collections.abc import Iterator

from flows.arithmetic import compared, exceeds
from flows.baseline import GuardedBaseline
from flows.rebuild import guarded_of
from flows.recompute import Case, Replay, number_of
from flows.rows import WindowRow
from flows.soundness import is_possible
from flows.wording import minute
from tocsin.detection import (
    WINDOW_MS,
    DetectionSettings,
    IncidentKind,
    Preset,
    ResolveReason,
)


def of_the_life(case: Case, again: Replay | None) -> Iterator[str]:
    """Tell how an incident of errors was confirmed and how it ended."""
    incident = case.incident
    if incident.kind is IncidentKind.SILENCE:
        return
    if incident.confirmed_start_ms is None:
        yield from _not_confirmed(case.settings)
    else:
        yield from _confirmed(case, again, incident.confirmed_start_ms // WINDOW_MS)
    if incident.absorbed:
        length = case.settings.absorb_windows
        yield f"Absorbed: it lasted {length} windows, so its level is what is normal now"
    if incident.resolved_start_ms is not None:
        last = minute(incident.resolved_start_ms // WINDOW_MS)
        yield (
            f"Resolved with the window {last}: {incident.calm_windows} windows in a row were calm"
        )


def of_a_silence(case: Case, guarded: GuardedBaseline | None) -> Iterator[str]:
    """Tell which windows were silent, how many records were usual, and how it ended."""
    incident, settings = case.incident, case.settings
    first = incident.window_start_ms // WINDOW_MS
    silent = case.judged - first + 1
    sign = ">=" if silent >= settings.unknown_gap_windows else "<"
    yield (
        f"Silent: {minute(first)} .. {minute(case.judged)},"
        f" {silent} windows {sign} {settings.unknown_gap_windows}"
    )
    if guarded is not None and guarded.n > 0 and is_possible(guarded):
        n, usual = guarded.n, guarded.records
        least = settings.unknown_records_per_window * n
        yield f"Guarded baseline: n = {n} windows, L = {usual} records of any level"
        yield f"  L/n = {usual / n:.4g} records a minute were usual"
        sign = ">=" if usual >= least else "<"
        yield (
            f"  {usual} records {sign} {settings.unknown_records_per_window} x {n} windows: "
            f"{'a silence' if usual >= least else 'no silence'}"
        )
    if incident.reason is ResolveReason.SPOKE:
        yield "Resolved by the service's next record"
    if incident.reason is ResolveReason.RETIRED:
        yield f"Resolved when the service was forgotten, {settings.retirement_windows} windows on"


def _not_confirmed(settings: DetectionSettings) -> Iterator[str]:
    if settings.preset is Preset.GUARDED:
        run = settings.confirm_run_windows
        yield (
            f"Not confirmed: no breach with z' > {settings.confirm_sigma},"
            f" and no {run} breaches in a row"
        )
    else:
        yield "Not confirmed"


def _confirmed(case: Case, again: Replay | None, confirming: int) -> Iterator[str]:
    settings = case.timeline.at(confirming)
    yield f"Confirmed with the window {minute(confirming)}"
    if settings.preset is Preset.PLAIN:
        yield "  by the plain rule every signal confirms"
        return
    row = _row(case, again, confirming)
    guarded = None if row is None else guarded_of(row)
    if row is None or guarded is None or not is_possible(guarded):
        return
    test = compared("z'", row.errors, guarded, settings.confirm_sigma)
    if guarded.n and exceeds(row.errors, guarded, settings.confirm_sigma):
        yield f"  {row.errors} errors on its guarded baseline: {test}: fire"
    else:
        run = settings.confirm_run_windows
        first = minute(confirming - run + 1)
        yield f"  {row.errors} errors on its guarded baseline: {test}, but"
        yield f"  it is the last of {run} breaches in a row, from {first} on: fire"


def _row(case: Case, again: Replay | None, window: int) -> WindowRow | None:
    if again is not None and window in again.windows:
        return again.windows[window]
    return next((row for row in case.rows if number_of(row) == window), None)
