"""How well incidents are found: the bars that the detector has to reach on labelled series."""

import pytest

from bench.replay import incidents_of, read_json
from bench.score import score_incidents
from flows.scoring import confirmations, openings
from tests.unit.detection.conftest import Replays


def test_guarded_confirmed_incidents_reach_the_bars(week: Replays) -> None:
    labels = read_json("synth_s11_labels.json")
    score = score_incidents(labels, confirmations(incidents_of(week["guarded"])))
    assert score.precision >= 0.80
    assert score.recall >= 0.90
    assert score.recall_clear >= 0.93
    assert score.f1 >= 0.85
    assert score.false_per_service_day <= 0.17
    assert score.duplicates_per_hit <= 0.03
    assert score.delay_median_s <= 60
    assert score.delay_p90_s <= 120


@pytest.mark.parametrize(
    ("preset", "confirmed", "published"),
    [
        ("plain", True, (0.078, 0.930, 0.930, 0.144, 8.369, 0.160, 47, 169)),
        ("guarded", True, (0.818, 0.914, 0.939, 0.864, 0.155, 0.017, 56, 105)),
        ("guarded", False, (0.083, 0.992, 1.000, 0.152, 8.405, 0.063, 44, 151)),
    ],
)
def test_the_scorer_gives_the_published_measures(
    week: Replays, preset: str, confirmed: bool, published: tuple[float, ...]
) -> None:
    labels = read_json("synth_s11_labels.json")
    rows = incidents_of(week[preset])
    incidents = confirmations(rows) if confirmed else openings(rows)
    _, *ratios, median_s, p90_s = score_incidents(labels, incidents)
    assert ratios == pytest.approx(published[:6], abs=6e-4)
    assert (median_s, p90_s) == pytest.approx(published[6:], abs=0.6)


def test_all_guarded_incidents_find_nearly_every_label(week: Replays) -> None:
    score = score_incidents(
        read_json("synth_s11_labels.json"), openings(incidents_of(week["guarded"]))
    )
    assert score.recall >= 0.98
    assert score.recall_clear >= 0.99


def test_plain_incidents_reach_the_bars(week: Replays) -> None:
    score = score_incidents(
        read_json("synth_s11_labels.json"), confirmations(incidents_of(week["plain"]))
    )
    assert score.recall >= 0.92
    assert score.false_per_service_day <= 8.6


def test_incidents_of_the_event_replay_reach_the_bars(three_hours: Replays) -> None:
    labels = read_json("events_3h_s11_labels.json")
    rows = incidents_of(three_hours["guarded"])
    confirmed = score_incidents(labels, confirmations(rows))
    assert confirmed.precision == 1
    assert confirmed.hits >= 6
    assert confirmed.delay_median_s <= 20
    assert score_incidents(labels, openings(rows)).recall == 1
