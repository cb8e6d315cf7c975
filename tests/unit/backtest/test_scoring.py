"""What an incident is by the labels, and what the measures say where there is nothing to say."""

import pytest

from flows.labels import Interval, Label, Labels
from flows.scoring import Finding, Judged, Scored, judge, measure
from tocsin.detection import WINDOW_MS

START, END = 100 * WINDOW_MS, 110 * WINDOW_MS
LABEL = Label(id="1", service_id="a", start_ms=START, end_ms=END)


def found(at_ms: int, *, service: str = "a") -> Scored:
    """An incident that is told within its window."""
    return Scored(service, [(at_ms, at_ms // WINDOW_MS)])


def findings(labels: Labels, *incidents: Scored) -> list[Finding]:
    return [one.finding for one in judge(labels, incidents)]


@pytest.mark.parametrize(
    ("at_ms", "finding"),
    [
        (START - 60_001, Finding.FALSE),
        (START - 60_000, Finding.HIT),
        (START, Finding.HIT),
        (END + WINDOW_MS + 59_999, Finding.HIT),
        (END + 2 * WINDOW_MS, Finding.FALSE),
    ],
)
def test_incident_hits_from_a_minute_before_its_label_until_a_minute_and_a_half_after(
    at_ms: int, finding: Finding
) -> None:
    assert findings(Labels(incidents=(LABEL,)), found(at_ms)) == [finding]


def test_window_that_ends_before_the_lead_is_no_hit_however_late_it_is_told() -> None:
    told_late = Scored("a", [(START, 98)])
    assert findings(Labels(incidents=(LABEL,)), told_late) == [Finding.FALSE]


def test_label_with_a_longer_lead_is_hit_earlier() -> None:
    early = Label(id="1", service_id="a", start_ms=START, end_ms=END, lead_ms=900_000)
    labels = Labels(incidents=(early,))
    assert findings(labels, found(START - 900_000)) == [Finding.HIT]
    assert findings(labels, found(START - 900_001)) == [Finding.FALSE]


def test_incident_of_another_service_is_no_hit() -> None:
    assert findings(Labels(incidents=(LABEL,)), found(START, service="b")) == [Finding.FALSE]


def test_first_incident_on_a_label_is_the_hit_and_gives_the_delay() -> None:
    judged = judge(Labels(incidents=(LABEL,)), [found(START + 90_000), found(START + 30_000)])
    assert [(one.finding, one.delay_s) for one in judged] == [
        (Finding.HIT, 30.0),
        (Finding.DUPLICATE, None),
    ]


def test_incident_before_its_label_has_no_negative_delay() -> None:
    [judged] = judge(Labels(incidents=(LABEL,)), [found(START - 30_000)])
    assert judged.delay_s == 0


def test_second_moment_counts_only_where_the_first_hits_nothing() -> None:
    both = Scored("a", [(START - 600_000, 90), (START + 60_000, 101)])
    [judged] = judge(Labels(incidents=(LABEL,)), [both])
    assert (judged.finding, judged.delay_s) == (Finding.HIT, 60.0)


def test_what_is_ignored_is_neither_hit_nor_false() -> None:
    step = Label(
        id="1", service_id="a", start_ms=START, end_ms=END, ignore_until_ms=END + 3_600_000
    )
    quiet = Interval("a", 0, 1000)
    labels = Labels(incidents=(step,), ignored=(quiet,))
    told = (found(500), found(END + 600_000), found(END + 3_700_000), found(500, service="b"))
    assert findings(labels, *told) == [
        Finding.IGNORED,
        Finding.FALSE,
        Finding.IGNORED,
        Finding.FALSE,
    ]


def test_unlabelled_incident_is_left_open_where_labels_are_not_complete() -> None:
    labels = Labels(incidents=(LABEL,), harmless=(Interval("a", 0, 1000),), complete=False)
    assert findings(labels, found(500), found(2_000_000), found(START)) == [
        Finding.FALSE,
        Finding.UNLABELLED,
        Finding.HIT,
    ]


def of(**counts: int) -> list[Judged]:
    return [
        Judged(found(0), Finding(name), delay_s=float(number) if name == "hit" else None)
        for name, count in counts.items()
        for number in range(count)
    ]


def test_measures_by_hand() -> None:
    judged = of(hit=3, false=1, duplicate=2, ignored=1, unlabelled=1)
    measures = measure(judged, labels=4, service_days=2)
    assert measures.incidents == 8
    assert (measures.precision, measures.recall, measures.f1) == (0.75, 0.75, 0.75)
    assert measures.false_per_service_day == 0.5
    assert (measures.detect_median_s, measures.detect_p95_s) == (1.0, 2.0)
    assert (measures.duplicates, measures.ignored, measures.unlabelled) == (2, 1, 1)


def test_f1_is_the_harmonic_mean() -> None:
    measures = measure(of(hit=2, false=6), labels=5, service_days=1)
    precision, recall = 0.25, 0.4
    assert measures.f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_what_cannot_be_said_is_none_and_never_zero() -> None:
    measures = measure([], labels=0, service_days=0)
    assert measures.precision is measures.recall is measures.f1 is None
    assert measures.false_per_service_day is measures.detect_median_s is None
    assert measure(of(unlabelled=3), labels=0, service_days=1).false_per_service_day is None
    assert measure(of(unlabelled=3, false=1), labels=0, service_days=1).false_per_service_day == 1
    assert measure([], labels=0, service_days=1).false_per_service_day == 0
    missed = measure([], labels=2, service_days=1)
    assert (missed.precision, missed.recall, missed.f1) == (None, 0, 0)


def test_label_that_begins_before_the_range_is_ignored_in_it() -> None:
    later = Label(id="2", service_id="a", start_ms=END, end_ms=END + 1)
    labels = Labels(incidents=(LABEL, later)).within(START + 1, END)
    assert labels.incidents == ()
    assert findings(labels, found(START + 60_000)) == [Finding.IGNORED]
    whole = Labels(incidents=(LABEL, later)).within(START, END + 1)
    assert whole.incidents == (LABEL, later)
