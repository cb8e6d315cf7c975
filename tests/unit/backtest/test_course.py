"""How far a backtest has come."""

from flows.course import Course


def test_range_does_not_end_before_its_last_record() -> None:
    course = Course()
    course.reached_ms = {0: 5_000, 1: 9_000}
    # At the end of a topic it is some seconds ago, for clocks that go wrong.
    course.until_ms = 7_000
    assert course.end_of_range_ms == 9_001
    course.until_ms = 20_000
    assert course.end_of_range_ms == 20_000
