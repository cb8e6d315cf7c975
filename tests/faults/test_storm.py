"""Faults in random order, each while the last one is still being digested."""

import time
from collections.abc import Callable

import pytest

from tests.faults import doing
from tests.faults.doing import Form
from tests.faults.figures import Figures
from tests.faults.rig import Rig

MakeRig = Callable[..., Rig]
GUST = Form(kills=1, few_kills=1, outage_s=2, stop_s=2, pause_s=(0.1, 1))
GALE = Form(kills=2, few_kills=1, outage_s=8, stop_s=8, pause_s=(0.1, 2))


def test_storm(make_rig: MakeRig, figures: Figures) -> None:
    check(make_rig, figures, "storm", GUST, seconds=10)


@pytest.mark.faults_long
@pytest.mark.timeout(1800)
def test_storm_of_ten_minutes(make_rig: MakeRig, figures: Figures) -> None:
    check(make_rig, figures, "storm", GALE, seconds=600)


def check(make_rig: MakeRig, figures: Figures, name: str, form: Form, *, seconds: float) -> None:
    rig = make_rig(by_proxy=True)
    rig.is_supervised = True
    rig.begin()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for fault in rig.chance.sample(doing.STORMY, 3):
            print(fault.__name__)
            rig.revive()
            fault(rig, form)
    rig.wait_for_http()
    rig.end()
    found = rig.check()
    figures.add(name, rig, found)
    print(*rig.exits, sep="\n")
    assert not found.problems, "\n".join(found.problems)
