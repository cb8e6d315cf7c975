"""What other settings would have changed, in plain words: of two candidates, the base first."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from flows.comparing import Change, Difference
from flows.rows import IncidentRow
from flows.scorecard import CandidateScore, Scorecard, View, changed
from flows.scoring import Finding
from tocsin.settings_versions import minute_of

SERVICES_MAX: Final = 10
INCIDENTS_MAX: Final = 20
_NAMES: Final = {View.CONFIRMED: "confirmed incidents", View.OPENED: "incidents, as opened"}
_SAID: Final = {Finding.HIT: ", labelled true", Finding.FALSE: ", labelled false"}


def in_words(cards: Sequence[Scorecard]) -> Iterator[str]:
    """Say what would be new, gone, earlier or later, for whom, and what the labels say of it.

    cards: of every view, the one that matters first.
    """
    if not any(changed(card.candidates[1].changes) for card in cards):
        count = cards[0].base.total.incidents
        yield f"nothing would have changed: the same {count} {_NAMES[cards[0].view]}, told as soon"
        return
    for card in cards:
        yield f"{_NAMES[card.view]}: {_counts(card.base, card.candidates[1])}"
        if card is cards[0]:
            yield from _services(card)
            yield from _labels(card)
            yield from _differing(card)


def _differing(card: Scorecard) -> Iterator[str]:
    """List the incidents that would differ, in the order of time."""
    before, after = _findings(card.base), _findings(card.candidates[1])
    changes = [one for one in card.candidates[1].changes or () if one.what is not Difference.SAME]
    shown = sorted(changes, key=lambda one: (_row(one).window_start_ms, one.service_id))
    for change in shown[:INCIDENTS_MAX]:
        row = _row(change)
        finding = (after if change.after else before)[row.incident_id]
        yield (
            f"  {_what(change):<15} {minute_of(row.window_start_ms)}  {_printable(row.service_id)},"
            f" peak z {row.peak_z:.1f}{_SAID.get(finding, '')}"
        )
    if len(shown) > INCIDENTS_MAX:
        yield f"  … and {len(shown) - INCIDENTS_MAX} more"


def _counts(base: CandidateScore, tried: CandidateScore) -> str:
    count = Counter(change.what for change in tried.changes or ())
    if not changed(tried.changes):
        return f"{base.total.incidents}, as now"
    told = [f"{count[Difference.NEW]} new", f"{count[Difference.GONE]} gone"]
    for what in (Difference.EARLIER, Difference.LATER):
        shifts = [abs(one.shift_s or 0) for one in tried.changes or () if one.what is what]
        if shifts:
            by_s = statistics.median(shifts)
            told.append(f"{len(shifts)} told {what.value}, by {by_s:.0f} s at the median")
    before, after = base.total.incidents, tried.total.incidents
    counts = f"{after} instead of {before}" if after != before else f"{after}, as many as now"
    return f"{counts}; {', '.join(told)}"


def _services(card: Scorecard) -> Iterator[str]:
    """Name the services that would have more or fewer, those with most first."""
    base, tried = card.base.by_service, card.candidates[1].by_service
    pairs = [
        (service, base[service].incidents if service in base else 0, own.incidents)
        for service, own in tried.items()
    ]
    pairs = [pair for pair in pairs if pair[1] != pair[2]]
    pairs.sort(key=lambda pair: (-abs(pair[1] - pair[2]), pair[0]))
    for service, before, after in pairs[:SERVICES_MAX]:
        yield f"  {_printable(service)} would have had {after} instead of {before}"
    if len(pairs) > SERVICES_MAX:
        yield f"  … and {len(pairs) - SERVICES_MAX} more services"


def _labels(card: Scorecard) -> Iterator[str]:
    base, tried = card.base, card.candidates[1]
    findings = _findings(base)
    alarms = {one for one, finding in findings.items() if finding is Finding.FALSE}
    if not base.total.labels and not alarms and not tried.total.false:
        yield "  nothing of that time is labelled: see `tocsin incidents label`"
        return
    if base.total.labels:
        now = "as now" if tried.total.hits == base.total.hits else f"now {base.total.hits}"
        yield (
            f"  of {base.total.labels} labelled true or missed, {tried.total.hits} would be found,"
            f" {now}"
        )
    if alarms or tried.total.false:
        gone = sum(
            one.what is Difference.GONE and _row(one).incident_id in alarms
            for one in tried.changes or ()
        )
        more = tried.total.false - (len(alarms) - gone)
        added = f", and {more} told where nothing was" if more > 0 else ""
        yield f"  of {len(alarms)} labelled false, {gone} would be gone{added}"


def _findings(score: CandidateScore) -> dict[str, Finding]:
    """Return what the labels make of each incident, by its id."""
    return {
        one.scored.incident.incident_id: one.finding
        for one in score.judged
        if one.scored.incident is not None
    }


def _row(change: Change) -> IncidentRow:
    row = change.after or change.before
    if row is None:
        raise ValueError("a change of no incident")
    return row


def _what(change: Change) -> str:
    if not change.shift_s:
        return change.what.value
    return f"{abs(change.shift_s):.0f} s {change.what.value}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
