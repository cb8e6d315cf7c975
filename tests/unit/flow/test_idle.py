"""Silent services are told the time by others, once a minute, until they are forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from flows.idle import IdleServices
from tocsin.detection import WINDOW_MS, DetectionSettings

SETTINGS = DetectionSettings()
IDLE_MS = SETTINGS.idle_ms


def test_service_is_due_only_when_it_was_silent_for_longer_than_idle() -> None:
    services = IdleServices(SETTINGS)
    services.heard("a", 0)
    assert services.due(IDLE_MS) == []
    assert services.due(IDLE_MS + WINDOW_MS) == ["a"]


def test_service_that_speaks_again_is_not_due() -> None:
    services = IdleServices(SETTINGS)
    services.heard("a", 0)
    services.heard("b", 10)
    services.heard("a", 2 * IDLE_MS)
    assert services.due(2 * IDLE_MS) == ["b"]


def test_service_is_due_once_a_minute_of_arrivals() -> None:
    services = IdleServices(SETTINGS)
    services.heard("a", 0)
    start_ms = 20 * WINDOW_MS
    told = [services.due(start_ms + ms) for ms in range(0, 3 * WINDOW_MS, 10_000)]
    assert [bool(due) for due in told] == [ms % WINDOW_MS == 0 for ms in range(0, 180_000, 10_000)]


def test_service_is_told_until_it_is_forgotten_and_not_after() -> None:
    services = IdleServices(SETTINGS)
    services.heard("a", 0)
    minutes = range(6, SETTINGS.retirement_windows + 60)
    told = [minute for minute in minutes if services.due(minute * WINDOW_MS)]
    # Its newest window may be five minutes ahead of its last arrival.
    enough = SETTINGS.retirement_windows + 5 + 1
    assert told[-1] - SETTINGS.idle_margin_ms // WINDOW_MS > enough
    assert told == list(range(6, told[-1] + 1))
    assert services.state()[1] == []


heard = st.tuples(st.sampled_from("abc"), st.integers(0, 120_000))


@given(st.lists(st.one_of(heard, st.just(None))), st.integers(0, 30))
def test_restored_services_go_on_as_the_ones_they_were_taken_from(
    steps: list[tuple[str, int] | None], cut: int
) -> None:
    def play(services: IdleServices, part: list[tuple[str, int] | None], now_ms: int) -> int:
        for step in part:
            if step is None:
                now_ms += WINDOW_MS
                answers.append(services.due(now_ms))
            else:
                now_ms += step[1]
                services.heard(step[0], now_ms)
        return now_ms

    answers: list[list[str]] = []
    play(IdleServices(SETTINGS), steps, 0)
    whole, answers = answers, []
    first = IdleServices(SETTINGS)
    now_ms = play(first, steps[:cut], 0)
    play(IdleServices.restore(SETTINGS, first.state()), steps[cut:], now_ms)
    assert answers == whole
