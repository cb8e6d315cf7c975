"""What becomes of each incident under other settings."""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from bench.week_grid import candidate, replay_of
from flows.comparing import Change, Difference, compare
from flows.scoring import Scored, confirmations
from tocsin.detection import WINDOW_MS

[[ROW]] = replay_of(
    {"a": [(number, 20, 20 if number == 20 else 0) for number in range(30)]}, [candidate("live")]
).incidents
"""A confirmed incident of window 20, resolved with window 25."""


def incident(low: int, end: int | None, *, at_s: int = 30, service: str = "a") -> Scored:
    """One that is confirmed so many seconds into its first window."""
    changes: dict[str, Any] = {
        "service_id": service,
        "window_start_ms": low * WINDOW_MS,
        "low_start_ms": low * WINDOW_MS,
        "confirmed_start_ms": low * WINDOW_MS,
        "confirmed_at_ms": low * WINDOW_MS + at_s * 1000,
        "resolved_start_ms": None if end is None else end * WINDOW_MS,
    }
    [scored] = confirmations([replace(ROW, **changes)])
    return scored


def told(changes: Iterable[Change]) -> list[tuple[str, float | None]]:
    return [(change.what.value, change.shift_s) for change in changes]


def test_same_incident_told_earlier_later_or_at_the_same_moment() -> None:
    before = [incident(10, 20), incident(30, 40), incident(50, 60)]
    after = [incident(10, 20), incident(30, 41, at_s=10), incident(52, 60)]
    assert told(compare(before, after)) == [("same", 0), ("earlier", -20), ("later", 120)]


def test_incidents_of_which_the_other_knows_nothing_are_new_and_gone() -> None:
    before, after = [incident(10, 20)], [incident(21, 30)]
    gone, new = compare(before, after)
    assert (gone.what, gone.before, gone.after) == (Difference.GONE, before[0].incident, None)
    assert (new.what, new.before, new.after) == (Difference.NEW, None, after[0].incident)
    assert told(compare(after, before)) == [("new", None), ("gone", None)]


def test_services_are_never_mixed() -> None:
    changes = compare([incident(10, 20)], [incident(10, 20, service="b")])
    assert [(change.service_id, change.what.value) for change in changes] == [
        ("a", "gone"),
        ("b", "new"),
    ]


def test_of_two_that_were_one_the_later_is_new_and_the_other_way_gone() -> None:
    whole, halves = [incident(10, 30)], [incident(10, 15), incident(20, 30)]
    assert told(compare(whole, halves)) == [("same", 0), ("new", None)]
    assert told(compare(halves, whole)) == [("same", 0), ("gone", None)]


def test_open_incident_lasts_for_ever() -> None:
    assert told(compare([incident(10, None)], [incident(500, 510)])) == [("later", 490 * 60.0)]


def test_order_in_which_they_are_given_does_not_matter() -> None:
    before = [incident(low, low + 5) for low in (10, 20, 30)]
    after = [incident(low, low + 5, at_s=50) for low in (10, 30)]
    forward = told(compare(before, after))
    assert forward == told(compare(before[::-1], after[::-1]))
    assert forward == [("later", 20), ("gone", None), ("later", 20)]
