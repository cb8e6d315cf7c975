"""Silent services are told the time by others, once a minute, until they are forgotten."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flows.detector import Detector
from flows.idle import WINDOWS_AT_ONCE, IdleServices
from flows.rows import Run, WindowRow
from tocsin.detection import WINDOW_MS, DetectionSettings, SettingsTimeline

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


def test_long_gap_is_told_in_steps_each_of_which_opens_a_bounded_number_of_windows() -> None:
    """Told at once, 5,000 services would open 3.6 million windows: 1.4 GB of rows."""
    count, gap = 5_000, 720
    services = IdleServices(SETTINGS)
    clocks = dict.fromkeys(map(str, range(count)), 0)
    for service_id in clocks:
        services.heard(service_id, 0)
    assert services.within_reach(0) == 0
    assert services.due(0) == []
    arrival_ms: int | None = gap * WINDOW_MS
    calls = 0
    while min(clocks.values()) < gap - 1:
        until_ms = services.within_reach(arrival_ms)
        assert until_ms is not None
        told = services.due(until_ms)
        target = (until_ms - SETTINGS.idle_margin_ms) // WINDOW_MS
        assert sum(target - clocks[service_id] for service_id in told) <= WINDOWS_AT_ONCE
        clocks |= dict.fromkeys(told, target)
        arrival_ms = None  # a batch that brings nothing new tells the rest all the same
        calls += 1
        assert calls <= gap
    assert set(clocks.values()) == {gap - 1}
    assert services.within_reach(None) == gap * WINDOW_MS


def test_few_services_are_told_of_any_gap_at_once() -> None:
    services = IdleServices(SETTINGS)
    services.heard("a", 0)
    until_ms = (SETTINGS.retirement_windows + 60) * WINDOW_MS
    assert services.within_reach(until_ms) == until_ms


def test_one_window_more_is_told_however_many_services_there_are() -> None:
    services = IdleServices(SETTINGS)
    for number in range(WINDOWS_AT_ONCE + 1):
        services.heard(str(number), 0)
    services.due(20 * WINDOW_MS)
    until_ms = services.within_reach(40 * WINDOW_MS)
    assert until_ms is not None
    assert (until_ms - SETTINGS.idle_margin_ms) // WINDOW_MS == 20


def test_late_news_of_a_gap_never_moves_a_service_that_spoke_after_it() -> None:
    services = IdleServices(SETTINGS)
    services.heard("a", 0)
    services.heard("b", 0)
    services.within_reach(100 * WINDOW_MS)
    services.heard("b", 101 * WINDOW_MS)
    until_ms = services.within_reach(None)
    assert until_ms == 100 * WINDOW_MS
    assert services.due(until_ms) == ["a"]


runs = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(0, 40)), min_size=1, max_size=6
)


@settings(max_examples=50)
@given(runs, st.lists(st.integers(0, 500), max_size=8))
def test_detector_that_is_told_in_steps_ends_as_the_one_that_is_told_at_once(
    spoken: list[tuple[int, int, int]], steps: list[int]
) -> None:
    """Its state does, and the newest row of each window, but for what it tells of the service."""
    as_of = dict.fromkeys(
        ("offset", "arrival_ms", "clock_start_ms", "last_start_ms", "gap_windows", "too_late"), 0
    )

    def play(
        stops: list[int],
    ) -> tuple[dict[int, WindowRow], dict[str, tuple[object, ...]], object]:
        detector = Detector("a", SettingsTimeline((SETTINGS,)))
        windows: dict[int, WindowRow] = {}
        incidents: dict[str, tuple[object, ...]] = {}
        arrival_ms = 0

        def drain() -> None:
            outcome = detector.drain()
            for window in outcome.windows:
                windows[window.window_start_ms] = replace(window, **as_of)
            for row in outcome.incidents:
                incidents[row.incident_id] = (row.resolved_start_ms, row.reason, row.peak_z)

        for offset, (gap, back, errors) in enumerate(spoken):
            until_ms = arrival_ms + gap * WINDOW_MS
            for stop in sorted(stops):
                if arrival_ms < stop * WINDOW_MS < until_ms:
                    detector.advance(stop * WINDOW_MS)
                    drain()
            detector.advance(until_ms)
            arrival_ms = until_ms
            window = max(arrival_ms // WINDOW_MS - back * (back > 300), 0)
            detector.apply(Run(window, errors + 1, errors, arrival_ms, arrival_ms, offset))
            drain()
        return windows, incidents, detector.snapshot().windows

    assert play(steps) == play([])
