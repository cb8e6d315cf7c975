"""What people have said of incidents, as it is scored against."""

from datetime import datetime, timedelta, timezone

from flows.said_labels import FOUND_LEAD_MS, labels_of
from flows.scoring import Finding, Scored, judge
from sql.labels import AnyLabelRow
from tocsin.detection import WINDOW_MS
from tocsin.records import EPOCH

START = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
START_MS = (START - EPOCH) // timedelta(milliseconds=1)


def said(is_true: bool | None, *, kind: str = "errors", service: str = "a") -> AnyLabelRow:
    return AnyLabelRow(
        incident_id=None if is_true is None else f"{service}{is_true}",
        missed_id=7 if is_true is None else None,
        service_id=service,
        kind=kind,
        is_true=is_true,
        started_at=START,
        ended_at=START + timedelta(minutes=10),
        note=None,
        labelled_at=START,
        labelled_by="me",
    )


def finding(rows: list[AnyLabelRow], at_ms: int, *, complete: bool = False) -> Finding:
    told = Scored("a", [(at_ms, at_ms // WINDOW_MS)])
    [judged] = judge(labels_of(rows, complete=complete), [told])
    return judged.finding


def test_incident_that_is_said_to_be_one_may_be_found_earlier_than_it_was() -> None:
    rows = [said(True)]
    assert finding(rows, START_MS) is Finding.HIT
    assert finding(rows, START_MS - FOUND_LEAD_MS) is Finding.HIT
    assert finding(rows, START_MS - FOUND_LEAD_MS - 1) is Finding.UNLABELLED


def test_missed_incident_begins_when_it_is_said_to() -> None:
    assert finding([said(None)], START_MS - 60_000) is Finding.HIT
    assert finding([said(None)], START_MS - 60_001) is Finding.UNLABELLED
    [label] = labels_of([said(None)], complete=False).incidents
    assert label.id == "missed:7"


def test_false_alarm_is_false_and_what_nobody_spoke_of_is_open() -> None:
    assert finding([said(False)], START_MS + 60_000) is Finding.FALSE
    assert finding([said(False)], START_MS + 3_600_000) is Finding.UNLABELLED
    assert finding([said(False)], START_MS + 3_600_000, complete=True) is Finding.FALSE


def test_manual_incidents_count_and_silences_do_not() -> None:
    assert finding([said(True, kind="manual")], START_MS) is Finding.HIT
    for is_true in (True, False):
        assert finding([said(is_true, kind="silence")], START_MS) is Finding.UNLABELLED
