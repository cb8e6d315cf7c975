"""Labels from files: what they hold, and the one line that says what is wrong with them."""

from pathlib import Path

import pytest

from flows.label_files import of_services, read_labels
from flows.labels import Interval, Label, Labels
from tocsin.errors import LabelsError

CSV = """service,start,end,kind,dontcare,dontcare_until
checkout,2026-03-02T08:00:00Z,2026-03-02T09:00:00+01:00,outage,,
"a, b",1772438400000,1772442000000,step,,2026-03-02T10:00:00Z
checkout,2026-03-03T00:00:00Z,2026-03-04T00:00:00Z,,true,
"""
JSON = """[
{"service": "checkout", "start": "2026-03-02T08:00:00Z", "end": "2026-03-02T08:00:00Z",
 "kind": "outage"},
{"service": "a, b", "start": 1772438400000, "end": 1772442000000, "kind": "step",
 "dontcare_until": 1772445600000},
{"service": "checkout", "start": "2026-03-03T00:00:00Z", "end": "2026-03-04T00:00:00Z",
 "dontcare": true}
]"""
START_MS = 1_772_438_400_000


@pytest.mark.parametrize(("name", "content"), [("known.csv", CSV), ("known.json", JSON)])
def test_csv_and_json_say_the_same(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    first, second = (
        Label(
            id=f"{name}:1", service_id="checkout", start_ms=START_MS, end_ms=START_MS, kind="outage"
        ),
        Label(
            id=f"{name}:2",
            service_id="a, b",
            start_ms=START_MS,
            end_ms=START_MS + 3_600_000,
            kind="step",
            ignore_until_ms=START_MS + 7_200_000,
        ),
    )
    day_ms = START_MS + 16 * 3_600_000
    assert read_labels(path) == Labels(
        incidents=(first, second),
        ignored=(Interval("checkout", day_ms, day_ms + 86_400_000),),
    )


def test_file_of_a_spreadsheet_is_read_with_its_byte_order_mark_and_line_ends(
    tmp_path: Path,
) -> None:
    path = tmp_path / "known.csv"
    path.write_bytes(b"\xef\xbb\xbfservice,start,end\r\na,1000,2000\r\n")
    assert [label.service_id for label in read_labels(path).incidents] == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", b"", "has no column 'service'"),
        ("x.csv", b"service,start\na,1\n", "has no column 'end'"),
        (
            "x.csv",
            b"service,start,end,knd\na,1,2,x\n",
            "unknown column 'knd', is 'kind' meant?",
        ),
        ("x.csv", b"service,start,end\na,monday,2\n", "line 2: start: 'monday' is no time"),
        (
            "x.csv",
            b"service,start,end\na,1,2026-03-02T08:00:00\n",
            "line 2: end: '2026-03-02T08:00:00' lacks its time zone, add Z for UTC",
        ),
        ("x.csv", b"service,start,end\na,2026-03-02T08:00:00,9\n", "line 2: start: '2026-03-02"),
        (
            "x.csv",
            b"service,start,end\na,5,1772409600000000\n",
            "line 2: end: '1772409600000000' is",
        ),
        ("x.csv", b"service,start,end\na,5," + b"9" * 5000 + b"\n", "line 2: end: '9999"),
        (
            "x.csv",
            b"service,start,end\na,5,9999-12-31T23:59:59-14:00\n",
            "line 2: end: '9999-12-31T",
        ),
        ("x.csv", b"service,start,end\na,5,2\n", "line 2: end lies before start"),
        ("x.csv", b"service,start,end\na,5\n", "line 2: has not as many fields"),
        ("x.csv", b"service,start,end\na,5,6,7\n", "line 2: has not as many fields"),
        ("x.csv", b"service,start,end\n,5,6\n", "line 2: Object missing required field `service`"),
        (
            "x.csv",
            b"service,start,end,dontcare\na,5,6,yes\n",
            "line 2: dontcare: give true or false, not text",
        ),
        (
            "x.json",
            b'[{"service": "a", "start": null, "end": 1}]',
            "label 1: start: give a whole number or text, not nothing",
        ),
        ("x.csv", b'service,start,end\n"a,5,6\n', "is no CSV"),
        ("x.csv", b"service,start,end\n\xff,5,6\n", "is not UTF-8"),
        ("x.csv", b"service,start,end\n", "holds no label"),
        ("x.json", b"{}", "is no JSON array of labels"),
        ("x.json", b"[", "is no JSON array of labels"),
        ("x.json", b"[" * 100_000, "is no JSON array of labels"),
        (
            "x.json",
            b'[{"service": "a", "start": 5, "end": 1772409600000000000}]',
            "label 1: end: 177",
        ),
        ("x.json", b"\xff", "is no JSON array of labels"),
        ("x.json", b'[{"service": "a", "start": 1}]', "label 1: Object missing required field"),
        ("x.json", b'[{"service": "a", "strt": 1}]', "label 1: Object contains unknown field"),
        ("x.json", b"[]", "holds no label"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_file_that_is_none_is_told_in_a_line(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LabelsError) as raised:
        read_labels(path)
    assert expected in str(raised.value)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="cannot be read: No such file"):
        read_labels(tmp_path / "gone.csv")


def test_labels_of_unknown_services_are_left_out_and_told_with_what_is_meant() -> None:
    label = Label(id="1", service_id="chekout", start_ms=0, end_ms=1)
    labels = Labels(incidents=(label,), ignored=(Interval("search", 0, 1),), complete=False)
    assert of_services(labels, ["chekout", "search", "other"], "x.csv") == (labels, None)
    kept, told = of_services(labels, ["checkout", "search"], "x.csv")
    assert kept == Labels(ignored=labels.ignored, complete=False)
    assert told == (
        "x.csv: labels of 'chekout' are left out: no record in the range is theirs;"
        " is 'chekout' meant to be 'checkout'?"
    )
    many = Labels(ignored=tuple(Interval(f"s{number}", 0, 1) for number in range(9)))
    _, told = of_services(many, ["other"], "x.csv")
    assert told == (
        "x.csv: labels of 's0', 's1', 's2', 's3', 's4' and 4 more are left out:"
        " no record in the range is theirs"
    )
