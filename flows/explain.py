"""An incident explained: the decision recomputed from the ledger, and the arithmetic of it.

Given are an incident, the rows of its service's windows and the versions of the settings. The
counts are replayed through the detector itself; every baseline, score, verdict and version that is
stored must come out again, and each that does not is named.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum

import msgspec
from msgspec import Struct

from flows import arithmetic, reasons, stored
from flows.agreement import differences
from flows.arithmetic import Arithmetic
from flows.baseline import Baseline, GuardedBaseline
from flows.rebuild import guarded_of, plain_of
from flows.recompute import (
    Case,
    Replay,
    case_of,
    number_of,
    plain_from_rows,
    replay,
)
from flows.rows import IncidentRow, WindowRow
from flows.soundness import is_possible
from flows.wording import minute, span
from tocsin.detection import WINDOW_MS, IncidentKind, Preset, SettingsTimeline
from tocsin.errors import TocsinError


class Reach(str, Enum):
    """How much of the ledger there is to recompute a decision from.

    FULL: every window from the service's first one on.
    PLAIN: the windows of the plain baseline; the guarded one is taken as its sums were stored.
    SUMS: neither; both baselines are taken as their sums were stored.
    """

    FULL = "full"
    PLAIN = "plain"
    SUMS = "sums"


class Explanation(Struct, frozen=True, kw_only=True):
    """Why an incident was opened and confirmed, recomputed from what is stored.

    agrees: whether all that could be recomputed is what is stored, to the last bit;
    disagreements: what is not. reach: how much could be. lines: the arithmetic, to be read.
    plain, guarded: its numbers; null where no such baseline judged.
    """

    incident_id: str
    service_id: str
    kind: IncidentKind
    settings_version: int
    agrees: bool
    disagreements: list[str]
    reach: Reach
    plain: Arithmetic | None
    guarded: Arithmetic | None
    lines: list[str]


class _Judged(Struct, frozen=True):
    """The baselines that lines are made of, with the counts of their windows where known."""

    plain: Baseline
    guarded: GuardedBaseline | None
    plain_counts: Mapping[int, int]
    guarded_counts: Mapping[int, int]
    left_out: Mapping[int, str]
    frozen_at: int | None


def explain_stored(
    incident: object, windows: Iterable[object], timeline: Callable[[], SettingsTimeline]
) -> Explanation:
    """Explain an incident of which the database returned these columns.

    timeline: returns the versions of the settings; it, too, raises TocsinError for what is stored
        so that it can't be read. Then the incident disagrees, for that reason.
    """
    try:
        versions = timeline()
        row, title = stored.incident_row(incident), stored.title_of(incident)
        rows = [stored.window_row(window) for window in windows]
        return explain(row, rows, versions, title=title)
    except TocsinError as error:
        return _unreadable(incident, str(error))
    except OverflowError:
        return _unreadable(incident, "a time is stored that is none of this age")


def explain(
    incident: IncidentRow,
    windows: Iterable[WindowRow],
    timeline: SettingsTimeline,
    *,
    title: str | None = None,
) -> Explanation:
    """Explain an incident by its service's windows, from the first one that is still stored.

    title: as it is stored; None leaves it out.
    """
    case = case_of(incident, title, windows, timeline)
    again = replay(case) if case.is_replayable else None
    different = list(differences(case, again))
    judged = _judged(case, again)
    count = incident.count
    lines = [*_head(case), *_baselines(case, judged), *reasons.of_the_life(case, again)]
    lines += [*_scope(case, again), *_outcome(different)]
    return Explanation(
        incident_id=incident.incident_id,
        service_id=incident.service_id,
        kind=incident.kind,
        settings_version=incident.settings_version,
        agrees=not different,
        disagreements=different,
        reach=_reach(case),
        plain=_numbers(count, judged.plain, judged.plain_counts),
        guarded=_numbers(count, judged.guarded, judged.guarded_counts),
        lines=lines,
    )


class _Named(Struct, frozen=True):
    incident_id: str
    service_id: str
    kind: IncidentKind
    settings_version: int


def _unreadable(incident: object, why: str) -> Explanation:
    named = msgspec.convert(incident, _Named, from_attributes=True)
    return Explanation(
        incident_id=named.incident_id,
        service_id=named.service_id,
        kind=named.kind,
        settings_version=named.settings_version,
        agrees=False,
        disagreements=[why],
        reach=Reach.SUMS,
        plain=None,
        guarded=None,
        lines=[
            f"Incident {named.incident_id} of {named.service_id}",
            "Nothing can be recomputed: what is stored cannot be read",
            *_outcome([why]),
        ],
    )


def _reach(case: Case) -> Reach:
    if case.is_whole and not case.is_carried_over:
        return Reach.FULL
    return Reach.PLAIN if case.has_plain_baseline else Reach.SUMS


def _judged(case: Case, again: Replay | None) -> _Judged:
    """Return the recomputed baselines, or those that are stored where they can't be."""
    plain, guarded = plain_of(case.incident), guarded_of(case.incident)
    counts = {number_of(row): row.errors for row in case.rows}
    plain_counts: dict[int, int] = {}
    if case.has_plain_baseline:
        plain = plain_from_rows(case)
        plain_counts = {n: counts[n] for n in range(case.plain_floor, case.judged - 1)}
    if again is None or case.judged not in again.windows:
        return _Judged(plain, guarded, plain_counts, {}, {}, None)
    guarded = guarded_of(again.windows[case.judged])
    frozen_at = again.frozen_at
    if frozen_at is not None and case.timeline.at(frozen_at).preset is Preset.GUARDED:
        return _Judged(plain, guarded, plain_counts, {}, {}, frozen_at)
    own = _newest_members(case, again, counts)
    oldest = min(own, default=case.judged)
    skipped = {number: why for number, why in again.left_out.items() if number > oldest}
    return _Judged(plain, guarded, plain_counts, own, skipped, None)


def _newest_members(case: Case, again: Replay, counts: Mapping[int, int]) -> dict[int, int]:
    floor = max(case.first or 0, case.judged - case.settings.guarded_lookback_windows)
    learned = [n for n in range(floor, case.judged - 1) if n not in again.left_out]
    return {number: counts[number] for number in learned[-case.settings.baseline_windows :]}


def _numbers(
    count: int, baseline: Baseline | GuardedBaseline | None, counts: Mapping[int, int]
) -> Arithmetic | None:
    if baseline is None or not is_possible(baseline):
        return None
    return arithmetic.arithmetic(count, baseline, counts)


def _head(case: Case) -> list[str]:
    incident, settings = case.incident, case.settings
    first = minute(incident.window_start_ms // WINDOW_MS)
    lines = [f"Incident {incident.incident_id} of {incident.service_id}"]
    if incident.kind is IncidentKind.SILENCE:
        lines.append(f"No record from {first} UTC on; known with the window {minute(case.judged)}")
    else:
        lines.append(f"{incident.count} errors in the minute from {first} UTC on")
        if case.row is not None and incident.count > case.row.errors:
            lines.append(f"  {case.row.errors} of them on time, the others late")
        if incident.detected_late:
            lines.append("  opened by late errors, which are judged on the plain baseline alone")
    lines.append(f"Judged by version {settings.version} of the settings, {settings.preset.value}")
    return lines


def _baselines(case: Case, judged: _Judged) -> list[str]:
    incident, settings = case.incident, case.settings
    if incident.kind is IncidentKind.SILENCE:
        return list(reasons.of_a_silence(case, judged.guarded))
    count = incident.count
    lines: list[str] = []
    for baseline in (judged.plain, judged.guarded):
        if baseline is not None and not is_possible(baseline):
            return ["No counts have the sums that are stored"]
    lines += arithmetic.members("Plain", judged.plain_counts)
    lines += arithmetic.sums("Plain", judged.plain)
    lines += arithmetic.scored("z", count, judged.plain)
    lines.append(arithmetic.signal(count, judged.plain, settings))
    if judged.guarded is None or incident.detected_late:
        return lines
    if judged.frozen_at is not None:
        frozen = minute(judged.frozen_at)
        lines.append(
            f"Guarded baseline: still that of {frozen}, which confirmed the incident before"
        )
    lines += arithmetic.members("Guarded", judged.guarded_counts)
    lines += arithmetic.left_out(judged.left_out)
    lines += arithmetic.sums("Guarded", judged.guarded)
    on_time = count if case.row is None else min(count, case.row.errors)
    lines += arithmetic.scored("z'", on_time, judged.guarded)
    lines.append(arithmetic.breach(on_time, judged.plain, judged.guarded, settings))
    return lines


def _scope(case: Case, again: Replay | None) -> list[str]:
    if again is not None and case.rows:
        own = span([number_of(row) for row in case.rows])
        lines = [f"Recomputed from the counts of {len(case.rows)} windows, {own}"]
        if case.truncated:
            lines.append("  the later ones were written anew after the service had been forgotten")
        return lines
    if case.is_carried_over:
        return [
            "Late errors may have confirmed by the plain rule what the guarded one went on with",
            "  the plain baseline is recomputed, the guarded one taken as stored",
        ]
    begins = f"from {minute(number_of(case.rows[0]))} on" if case.rows else "no more"
    lines = [f"The ledger does not reach back to the service's first window: it is kept {begins}"]
    if case.has_plain_baseline:
        lines.append("  the plain baseline is recomputed, the guarded one taken as stored")
    else:
        lines.append("  both baselines are taken as their sums were stored")
    return lines


def _outcome(different: list[str]) -> list[str]:
    if not different:
        return ["Agrees with what is stored, to the last bit"]
    return ["DISAGREES with what is stored", *(f"  {line}" for line in different)]
