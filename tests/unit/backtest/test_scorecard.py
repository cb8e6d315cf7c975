"""A replay held against labels: by candidate and service, within its range, in tables and files."""

import io
import json
import re
from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace
from rich.console import Console

from bench.week_grid import labels_of_week
from flows.labels import Labels
from flows.replayed import LIVE, Replay
from flows.score_frames import INCIDENTS, LABELS, SCORES, write_json, write_parquet
from flows.score_tables import busiest_services, tables
from flows.scorecard import Scorecard, View, score_replay
from flows.scoring import Finding
from tests.unit.backtest.conftest import SERVICES
from tests.unit.backtest.labels import label
from tocsin.detection import WINDOW_MS
from tocsin.errors import TocsinError


@pytest.fixture(scope="session")
def labels() -> Labels:
    return labels_of_week(SERVICES)


@pytest.fixture(scope="session")
def card(three_days: Replay, labels: Labels) -> Scorecard:
    return score_replay(three_days, labels)


def test_services_add_up_to_the_whole(card: Scorecard) -> None:
    for score in card.candidates:
        own = score.by_service.values()
        for name in ("labels", "incidents", "hits", "false", "duplicates", "ignored"):
            assert sum(getattr(one, name) for one in own) == getattr(score.total, name), name
        assert score.total.labels == len(card.labels.incidents) > 0


def test_plain_tells_far_more_that_is_false(card: Scorecard) -> None:
    live, plain = card.candidates[0].total, card.candidates[-1].total
    assert plain.false > 10 * max(1, live.false)
    assert (live.false_per_service_day or 0) == pytest.approx(live.false / card.service_days)


def test_only_confirmed_incidents_count_unless_openings_are_asked_for(
    three_days: Replay, labels: Labels
) -> None:
    opened = score_replay(three_days, labels, View.OPENED).candidates[0]
    confirmed = score_replay(three_days, labels).candidates[0]
    assert len(opened.judged) == len(three_days.incidents[0])
    rows = [one.scored.incident for one in confirmed.judged]
    assert all(row is not None and row.confirmed_at_ms is not None for row in rows)
    assert len(rows) < len(opened.judged) / 4


def test_incidents_and_labels_outside_the_range_do_not_count(
    three_days: Replay, labels: Labels
) -> None:
    begin_ms, end_ms = 1440 * WINDOW_MS, 2 * 1440 * WINDOW_MS
    score = score_replay(replace(three_days, begin_ms=begin_ms, end_ms=end_ms), labels)
    told = [one.scored.moments[0][0] for one in score.candidates[0].judged]
    assert told
    assert all(begin_ms <= at_ms < end_ms for at_ms in told)
    assert all(begin_ms <= one.start_ms < end_ms for one in score.labels.incidents)
    assert score.service_days == 2


def test_changes_are_those_against_the_first(card: Scorecard) -> None:
    live, keener, duller, _ = card.candidates
    assert live.changes is None
    for score in (keener, duller):
        assert score.changes is not None
        counts = dict.fromkeys(("new", "gone", "earlier", "later", "same"), 0)
        for change in score.changes:
            counts[change.what.value] += 1
        assert counts["new"] - counts["gone"] == len(score.judged) - len(live.judged)
    assert card.base is live


def test_alone_there_is_nothing_to_compare(three_days: Replay, labels: Labels) -> None:
    named = [replace(three_days.candidates[0], name="default")]
    card = score_replay(
        replace(three_days, candidates=named, incidents=three_days.incidents[:1]), labels
    )
    assert card.base.changes is None
    assert card.others == []
    text = rendered([card])
    assert "against" not in text
    assert "by service: default" in text


def test_one_label_is_said_in_the_singular(three_days: Replay) -> None:
    known = Labels(incidents=(label(three_days.incidents[0][0].service_id, 0, 1),))
    assert "confirmed incidents: 1 label\n" in rendered([score_replay(three_days, known)])


def test_unlabelled_range_is_shown_without_scores(three_days: Replay) -> None:
    card = score_replay(three_days, Labels(complete=False))
    total = card.candidates[0].total
    assert total.precision is total.recall is total.f1 is None
    assert {one.finding for one in card.candidates[0].judged} == {Finding.UNLABELLED}
    assert "0 labels" in rendered([card])


def rendered(cards: list[Scorecard]) -> str:
    out = io.StringIO()
    console = Console(width=80, file=out)
    for shown in tables(cards):
        console.print(shown)
    return out.getvalue()


def test_tables_fit_eighty_columns_and_cut_nothing(
    three_days: Replay, labels: Labels, card: Scorecard
) -> None:
    text = rendered([card, score_replay(three_days, labels, View.OPENED)])
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for word in ("confirmed incidents", "as opened", "incidents against live", "by service"):
        assert word in text
    for name in SERVICES:
        assert name in text


@pytest.mark.parametrize(
    ("name", "is_beside"),
    [("min-count=50 for nightly-*", True), ("sigma=2.5 calm_windows=10 for nightly-*", False)],
)
def test_settings_are_never_folded_within_a_word(
    three_days: Replay, labels: Labels, name: str, is_beside: bool
) -> None:
    live, keener, *others = three_days.candidates
    named = [live, replace(keener, name=name), *others]
    rows = list(three_days.incidents)
    # So many that the column of the counts is wide.
    rows[1] = [
        replace(row, incident_id=f"{row.incident_id}-{number}")
        for number in range(200)
        for row in rows[1]
    ]
    text = rendered([score_replay(replace(three_days, candidates=named, incidents=rows), labels)])
    assert max(map(len, text.splitlines())) <= 80
    words = re.split(r"[\s│]+", text.partition("against live")[0])
    for word in name.split():
        assert word in words
    assert ("┃ no." not in text) is is_beside
    assert (re.search(rf"^\d: {re.escape(name)}$", text, re.MULTILINE) is None) is is_beside


def test_what_steers_a_terminal_is_shown_and_not_sent(three_days: Replay) -> None:
    evil = "[red]x\x1b[2J"
    rows = [[replace(row, service_id=evil) for row in own] for own in three_days.incidents]
    replay = replace(three_days, incidents=rows, series={evil: three_days.series["ml-scorer"]})
    labels = Labels(incidents=(label(evil, 0, 1),))
    text = rendered([score_replay(replay, labels)])
    assert "\x1b" not in text
    assert "[red]x\\x1b" in text.replace("│\n│ ", "")


def test_more_settings_and_services_than_fit_are_counted(three_days: Replay) -> None:
    [live, *others] = three_days.candidates
    many = [live, *(replace(others[0], name=f"other {number}") for number in range(40))]
    incidents = [three_days.incidents[0], *([three_days.incidents[1]] * 40)]
    known = Labels(incidents=tuple(label(f"s{number}", 1, 2) for number in range(20)))
    replay = replace(three_days, candidates=many, incidents=incidents)
    text = rendered([score_replay(replay, known)])
    assert "21 more settings" in text
    assert "12 more services" in text


def test_busiest_services_begin_with_those_that_differ_most(card: Scorecard) -> None:
    first, *_ = busiest_services(card)
    differing = {
        service: sum(
            change.what.value != "same"
            for score in card.candidates
            for change in score.changes or ()
            if change.service_id == service
        )
        for service in SERVICES
    }
    assert first == max(SERVICES, key=lambda service: differing[service])


def test_parquet_has_the_documented_columns_and_the_scores(
    three_days: Replay, labels: Labels, card: Scorecard, tmp_path: Path
) -> None:
    opened = score_replay(three_days, labels, View.OPENED)
    write_parquet(tmp_path / "new" / "folder", [card, opened])
    scores, incidents, known = (
        pl.read_parquet(tmp_path / "new" / "folder" / f"{name}.parquet")
        for name in ("scores", "incidents", "labels")
    )
    assert dict(incidents.schema) == INCIDENTS
    assert dict(known.schema) == LABELS
    varied = {"threshold_sigma": pl.Float64(), "preset": pl.String()}
    assert dict(scores.schema) == {**SCORES, **varied}
    whole = scores.filter(pl.col("service").is_null(), view="confirmed")
    assert whole["candidate"].to_list() == [one.name for one in three_days.candidates]
    assert whole["f1"].to_list() == [one.total.f1 for one in card.candidates]
    assert whole["threshold_sigma"].to_list() == [3.0, 2.5, 4.0, 3.0]
    told = incidents.filter(pl.col("finding").is_not_null(), candidate=LIVE)
    assert told.height == len(card.candidates[0].judged)
    assert told.filter(finding="hit").height == card.candidates[0].total.hits
    gone = incidents.filter(change="gone")
    assert gone.height == scores.filter(pl.col("service").is_null(), view="confirmed")["gone"].sum()
    assert gone["finding"].null_count() == gone.height
    found = known.filter(candidate=LIVE)
    assert (found.height, found["found"].sum()) == (
        len(card.labels.incidents),
        card.candidates[0].total.hits,
    )


def test_json_holds_the_same_tables(
    three_days: Replay, labels: Labels, card: Scorecard, tmp_path: Path
) -> None:
    path = tmp_path / "scores.json"
    write_json(path, [card, score_replay(three_days, labels, View.OPENED)])
    document = json.loads(path.read_text())
    assert document["view"] == "confirmed"
    assert document["records"] == three_days.records
    assert document["candidates"][1] == {
        "name": "sigma=2.5 min-count=5",
        "settings": {"threshold_sigma": 2.5, "preset": "guarded"},
    }
    whole = [row for row in document["scores"] if row["service"] is None]
    assert [row["view"] for row in whole] == ["confirmed"] * 4 + ["opened"] * 4
    assert [row["f1"] for row in whole[:4]] == [one.total.f1 for one in card.candidates]
    assert list(document["incidents"][0]) == list(INCIDENTS)
    assert document["incidents"][0]["opened_at"].endswith("Z")


def test_what_cannot_be_written_is_told(card: Scorecard, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TocsinError, match="file: cannot be written"):
        write_parquet(tmp_path / "file", [card])
    with pytest.raises(TocsinError, match="cannot be written: No such file"):
        write_json(tmp_path / "none" / "x.json", [card])
