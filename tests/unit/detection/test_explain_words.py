"""The arithmetic of an explanation can be read, and its numbers are as exact as they need to be."""

from decimal import Decimal

from flows.arithmetic import compared
from flows.baseline import Baseline
from tests.unit.detection.service import Service
from tests.unit.detection.test_explain import BURST, assert_agrees, explained, only
from tests.unit.detection.test_silence import after
from tocsin.detection import WINDOW_MS, IncidentKind


def test_arithmetic_can_be_read_line_by_line() -> None:
    tables = Service().minutes([1, 2] * 10 + [60] + [1, 2] * 10 + [9] + [1, 2] * 5).tables
    explanation = explained(tables)[-1]
    assert explanation.agrees
    assert explanation.lines[1:] == [
        "9 errors in the minute from 1970-01-01 00:41 UTC on",
        "Judged by version 1 of the settings, guarded",
        "Plain baseline, errors of each window:",
        f"  1970-01-01 00:10 .. 00:39: {'1 2 ' * 5}60 {'1 2 ' * 9}1",
        "Plain baseline: n = 30 windows, S = 103 errors, Q = 3671 (sum of squares)",
        "  mean = S/n = 3.433333333333333",
        "  V = n*Q - S*S = 30*3671 - 103*103 = 99521",
        "  sigma = sqrt(V)/n = 10.515649713112781",
        "  d = n*c - S = 30*9 - 103 = 167",
        "  z = d/sqrt(V) = 0.5293697316415131",
        "  z = 0.529 <= 3, 9 errors > 5, 30 windows >= 5: no signal",
        "Guarded baseline, errors of each window:",
        f"  1970-01-01 00:09 .. 00:19: 2{' 1 2' * 5}",
        f"  1970-01-01 00:21 .. 00:39: {'1 2 ' * 9}1",
        "  left out as part of an incident: 1970-01-01 00:20",
        "Guarded baseline: n = 30 windows, S = 45 errors, Q = 75 (sum of squares)",
        "  mean = S/n = 1.5",
        "  V = n*Q - S*S = 30*75 - 45*45 = 225, at least n*S = 1350: 1350",
        "  sigma = sqrt(V)/n = 1.2247448713915892",
        "  d = n*c - S = 30*9 - 45 = 225",
        "  z' = d/sqrt(V) = 6.123724356957945",
        (
            "  z' = 6.12 > 3, 9 errors > 5, 30 windows >= 5, 9 >= 1.5 x mean 1.5: "
            "breach, CRITICAL for z' > 5"
        ),
        "Not confirmed: no breach with z' > 7, and no 3 breaches in a row",
        "Resolved with the window 1970-01-01 00:46: 5 windows in a row were calm",
        "Recomputed from the counts of 47 windows, 1970-01-01 00:00 .. 00:46",
        "Agrees with what is stored, to the last bit",
    ]


def test_silence_tells_how_many_records_were_usual() -> None:
    explanation = only(after(8).tables)
    assert_agrees(explanation)
    assert explanation.kind is IncidentKind.SILENCE
    assert "  L/n = 18.26 records a minute were usual" in explanation.lines


def test_breaches_in_a_row_confirm() -> None:
    quiet = Service().minutes([20, 30] * 20 + [44, 44, 44] + [20, 30] * 5)
    [row] = quiet.tables.incidents.values()
    assert row.confirmed_start_ms == (BURST + 2) * WINDOW_MS
    explanation = only(quiet.tables)
    assert_agrees(explanation)
    assert any("the last of 3 breaches in a row" in line for line in explanation.lines)


def test_z_is_shown_as_exactly_as_its_comparison_needs() -> None:
    assert compared("z", 3, Baseline(n=10, errors=0, squares=10), Decimal(3)) == "z = 3 <= 3"
    wide = Baseline(n=1, errors=0, squares=10**8)
    assert compared("z", 30_001, wide, Decimal(3)) == "z = 3.0001 > 3"
    wider = Baseline(n=1, errors=0, squares=10**18)
    assert compared("z", 3_000_000_001, wider, Decimal(3)) == "z = 3.000000001 > 3"
    assert compared("z", 60, Baseline(30, 45, 75), Decimal(3)) == "z = 117 > 3"
