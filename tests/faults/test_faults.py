"""Laws 1 and 2 under faults: everything acknowledged is stored once.

At the end the windows, verdicts and incidents equal those of a flow that nothing disturbed.
The long form has a line and an undisturbed flow for each fault, the short one for several in a row.
"""

from collections.abc import Callable, Sequence

import pytest

from tests.faults import doing
from tests.faults.doing import LONG, SHORT, Fault, Form
from tests.faults.figures import Figures
from tests.faults.rig import Rig

MakeRig = Callable[..., Rig]
FAULTS = [*doing.DIRECT, *doing.BY_PROXY]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", doing.VICTIMS)
def test_everything_is_stored_once_and_judged_the_same(
    make_rig: MakeRig, figures: Figures, victim: str
) -> None:
    check(make_rig, figures, victim, doing.VICTIMS[victim], SHORT)


def test_short_form_has_every_fault() -> None:
    assert {fault for faults in doing.VICTIMS.values() for fault in faults} == set(FAULTS)


@pytest.mark.faults_long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_everything_is_stored_once_and_judged_the_same_for_long(
    make_rig: MakeRig, figures: Figures, fault: Fault
) -> None:
    check(make_rig, figures, fault.__name__, [fault], LONG)


def check(
    make_rig: MakeRig, figures: Figures, name: str, faults: Sequence[Fault], form: Form
) -> None:
    """Do the faults, each when the one before it is digested, and hold the end against the load."""
    rig = make_rig(by_proxy=any(fault in doing.BY_PROXY for fault in faults))
    rig.begin()
    for fault in faults:
        print(fault.__name__)
        fault(rig, form)
        doing.flows_on(rig)
    rig.load.wait_for_more(1000)
    rig.end()
    found = rig.check()
    figures.add(name, rig, found)
    assert not found.problems, "\n".join(found.problems)
