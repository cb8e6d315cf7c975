"""A body that is refused says what would be right."""

from typing import Any

import msgspec
import pytest

from api.bodies import decode
from api.incident_changes import Comment, IncidentChange, OpenedIncident
from api.problems import Refusal
from tocsin.backtests import NewBacktest


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            IncidentChange,
            b'{"status": "DONE"}',
            "body: status: 'DONE' is not one of OPEN, ACKNOWLEDGED, RESOLVED",
        ),
        (IncidentChange, b'{"statu": "OPEN"}', "body: statu: no such field, did you mean status?"),
        (IncidentChange, b'{"zzz": 1}', "body: zzz: no such field"),
        (OpenedIncident, b'{"severty": "HIGH"}', "did you mean severity?"),
        (Comment, b'{"text": 1}', "body: text: give text, not a whole number"),
        (Comment, b"[]", "body: give an object, not a list"),
        (NewBacktest, b'{"grid": {"sigma": 3}}', "grid: give a list, not a whole number"),
        (list[IncidentChange], b'[{"status": "DONE"}]', "Invalid enum value 'DONE'"),
    ],
)
def test_refusal_names_the_field_and_what_it_takes(kind: Any, body: bytes, said: str) -> None:
    with pytest.raises(Refusal) as refusal:
        decode(body, msgspec.json.Decoder(kind))
    assert said in refusal.value.detail
