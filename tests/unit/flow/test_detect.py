"""What the dataflow's recovery is given of a service: its state as of when it was asked for."""

import pickle

from flows.cut import ServiceRuns
from flows.detect import DetectLogic, OneBook, detector_builder
from flows.known import NOTHING_KNOWN, ServiceState
from flows.rows import Run
from tocsin.settings_versions import SettingsBook

build = detector_builder(OneBook(SettingsBook.of_defaults()), NOTHING_KNOWN)


def hear(logic: DetectLogic, offset: int) -> None:
    logic.on_batch([ServiceRuns("service", 1, 0, [Run(7, 1, 0, 10, 10, offset)])])


def kept_of(pickled: bytes) -> ServiceState:
    return ServiceState.unpacked(pickle.loads(pickled))


def test_state_that_is_pickled_late_is_that_of_when_it_was_asked_for() -> None:
    """Bytewax may hand a service the next epoch's batch before it pickles the last one's state."""
    logic = build(None)
    hear(logic, 5)
    at_once = pickle.dumps(logic.snapshot())
    late = logic.snapshot()
    hear(logic, 6)
    assert pickle.dumps(late) == at_once
    assert kept_of(at_once).detector.offset == 5
    assert kept_of(pickle.dumps(logic.snapshot())).detector.offset == 6


def test_service_goes_on_from_what_was_pickled() -> None:
    logic = build(None)
    hear(logic, 5)
    pickled = pickle.dumps(logic.snapshot())
    again = build(pickle.loads(pickled))
    assert pickle.dumps(again.snapshot()) == pickled


def test_no_state_is_held_once_it_is_pickled_or_has_changed() -> None:
    logic = build(None)
    for use in (pickle.dumps, lambda _: hear(logic, 6)):
        hear(logic, 5)
        asked_for = logic.snapshot()
        assert logic._asked_for is asked_for is not None
        use(asked_for)
        assert logic._asked_for is None


def test_service_that_was_never_heard_has_no_state() -> None:
    assert build(None).snapshot() is None
