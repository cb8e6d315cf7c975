"""Laws 1 and 2 under faults, one at a time: everything acknowledged is stored once.

At the end the windows, verdicts and incidents equal those of a flow that nothing disturbed.
"""

from collections.abc import Callable

import pytest

from tests.faults import doing
from tests.faults.doing import LONG, SHORT, Fault, Form
from tests.faults.figures import Figures
from tests.faults.rig import Rig

MakeRig = Callable[..., Rig]
FAULTS = [*doing.DIRECT, *doing.BY_PROXY]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_everything_is_stored_once_and_judged_the_same(
    make_rig: MakeRig, figures: Figures, fault: Fault
) -> None:
    check(make_rig, figures, fault, SHORT)


@pytest.mark.faults_long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_everything_is_stored_once_and_judged_the_same_for_long(
    make_rig: MakeRig, figures: Figures, fault: Fault
) -> None:
    check(make_rig, figures, fault, LONG)


def check(make_rig: MakeRig, figures: Figures, fault: Fault, form: Form) -> None:
    rig = make_rig(by_proxy=fault in doing.BY_PROXY)
    rig.begin()
    fault(rig, form)
    rig.load.wait_for_more(1000)
    rig.end()
    found = rig.check()
    figures.add(fault.__name__, rig, found)
    assert not found.problems, "\n".join(found.problems)
