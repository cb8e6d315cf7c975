"""The page of a backtest: whole in itself, safe whatever services are called, bounded in size."""

import re
from array import array
from collections import Counter
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace

from bench.week_grid import candidate, labels_of_week
from flows.labels import Labels
from flows.page import page_of, write_page
from flows.page_services import LANES_MAX, POINTS_MAX, band_of, lanes_of, service_figure
from flows.replayed import Replay, Series
from flows.scorecard import Scorecard, score_replay
from tests.unit.backtest.conftest import SERVICES
from tests.unit.backtest.labels import label
from tocsin.detection import WINDOW_MS
from tocsin.errors import TocsinError
from tocsin.settings_changes import names
from tocsin.settings_versions import SettingsDocument, SettingsVersion


class Tags(HTMLParser):
    """Counts tags, and keeps attributes and text but for that of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str | None] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self._inside = tag
        self.links += [value for name, value in attrs if name in {"src", "href", "srcset"}]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in {"script", "style"}:
            self.text += data


@pytest.fixture(scope="session")
def card(three_days: Replay) -> Scorecard:
    return score_replay(three_days, labels_of_week(SERVICES))


def test_page_needs_nothing_but_itself(card: Scorecard) -> None:
    page = page_of(card)
    assert Tags(page).links == []
    assert "default-src &apos;none&apos;" in page or "default-src 'none'" in page
    for heading in ("Precision against recall", "Time to detect", "What would change", "Services"):
        assert heading in Tags(page).text


def test_page_says_what_it_is_of(card: Scorecard, three_days: Replay) -> None:
    before = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    calm = SettingsDocument({"threshold_sigma": Raw(b"2.75")})
    calm = calm.with_change("batch-*", {"minimum_count": Raw(b"50")})
    versions = (*three_days.candidates[0].versions, SettingsVersion(2, 60_000, calm))
    base = replace(three_days.candidates[0], versions=versions)
    of_file = replace(
        three_days,
        candidates=[base, *three_days.candidates[1:]],
        source="night.ndjson",
        records=three_days.records + 7,
    )
    text = Tags(page_of(score_replay(of_file, Labels()))).text
    [made, source] = re.findall(r"Made (.{16}) UTC, of (.*?):", text)[0]
    assert before <= datetime.fromisoformat(f"{made}+00:00") <= datetime.now(timezone.utc)
    assert source == "night.ndjson"
    assert "of which 7 came late" in text
    settings = text[text.index("Settings of live") :]
    assert "The newest of 2 versions" in settings
    assert "threshold_sigma 2.75; " in settings
    assert all(f"{name} " in settings for name in names())
    assert "services like batch-*: minimum_count 50 instead of 5" in settings
    text = Tags(page_of(card)).text
    assert "came late" not in text
    assert "versions" not in text


def test_page_without_labels_says_so_and_shows_changes(three_days: Replay) -> None:
    text = Tags(page_of(score_replay(three_days, Labels(complete=False)))).text
    assert "no labels in the range" in text
    assert "Precision against recall" not in text
    assert "What would change" in text


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e&amp;"


def test_names_are_text_and_never_markup(three_days: Replay) -> None:
    rows = [[replace(row, service_id=EVIL) for row in own] for own in three_days.incidents]
    candidates = [three_days.candidates[0]]
    candidates += [replace(one, name=f"{EVIL} {one.name}") for one in three_days.candidates[1:]]
    evil = replace(
        three_days,
        source=EVIL,
        candidates=candidates,
        incidents=rows,
        series={EVIL: three_days.series["ml-scorer"]},
    )
    known = Labels(incidents=(label(EVIL, 0, 10 * WINDOW_MS, kind=EVIL),))
    plain = Labels(incidents=(label("ml-scorer", 0, 10 * WINDOW_MS, kind="burst"),))
    tame = replace(three_days, series={"ml-scorer": three_days.series["ml-scorer"]})
    tame = replace(
        tame,
        incidents=[[replace(row, service_id="ml-scorer") for row in own] for own in rows],
    )
    page = page_of(score_replay(evil, known))
    found = Tags(page)
    assert found.tags == Tags(page_of(score_replay(tame, plain))).tags
    assert found.links == []
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in found.text
    # Plotly takes some tags in texts, so none but its own may be in them.
    pictures = page[page.index("plotly-graph-div") :]
    tags = set(re.findall(r"\\u003c(.*?)\\u003e", pictures))
    assert tags == {"br", "extra", r"\u002fextra"}


def test_settings_that_tell_the_same_share_a_lane(card: Scorecard, three_days: Replay) -> None:
    twice = replace(
        three_days,
        candidates=[*three_days.candidates, candidate("as live")],
        incidents=[*three_days.incidents, three_days.incidents[0]],
    )
    first, *others = lanes_of(score_replay(twice, labels_of_week(SERVICES)), "ml-scorer")
    assert first.names[0] == "live"
    assert "as live" in first.names
    names = [name for lane in (first, *others) for name in lane.names]
    assert sorted(names) == sorted(one.name for one in twice.candidates)


def test_band_is_the_baseline_that_the_detector_goes_by(three_days: Replay) -> None:
    series = three_days.series["ml-scorer"]
    band = band_of("ml-scorer", series, three_days.candidates[-1])  # plain: by hand
    at = 2000
    counts = series.errors[at - 31 : at - 1]
    mean = sum(counts) / 30
    sigma = (sum(count * count for count in counts) / 30 - mean * mean) ** 0.5
    assert band.means[at] == pytest.approx(mean)
    assert band.highs[at] == pytest.approx(mean + 3 * sigma)
    assert band.lows[at] == pytest.approx(max(0, mean - 3 * sigma))
    assert len(band.means) == len(series.errors)
    assert band.means[0] is None


def test_long_range_is_drawn_in_so_many_points_and_no_peak_is_lost(three_days: Replay) -> None:
    windows = 5 * POINTS_MAX
    errors = array("q", [0] * windows)
    errors[12_345] = 77
    none = array("q", [0] * windows)
    total = array("q", [1] * windows)
    series = Series(0, errors, total, none, none)
    long = replace(three_days, series={"ml-scorer": series}, end_ms=windows * WINDOW_MS)
    card = score_replay(long, Labels())
    band = band_of("ml-scorer", series, long.candidates[0])
    figure = service_figure(card, "ml-scorer", band)
    [drawn] = [trace for trace in figure["data"] if trace.get("name") == "errors"]
    assert len(drawn["y"]) <= POINTS_MAX
    assert drawn["y"][12_345 // (drawn["dx"] // WINDOW_MS)] == 77


def test_hundred_settings_and_five_hundred_services_stay_a_page(three_days: Replay) -> None:
    few = three_days.series["ml-scorer"]
    services = [f"s{number}" for number in range(500)]
    own = three_days.incidents[0][:4]
    sets = [
        [replace(own[number % 4], service_id=service) for number, service in enumerate(services)],
        [replace(own[number % 3], service_id=service) for number, service in enumerate(services)],
    ]
    wide = replace(
        three_days,
        candidates=[candidate("live"), *(candidate(f"c{number}") for number in range(1, 100))],
        incidents=[sets[number % 2] for number in range(100)],
        series=dict.fromkeys(services, few),
    )
    known = Labels(incidents=tuple(label(service, 1, 2) for service in services))
    page = page_of(score_replay(wide, known))
    text = Tags(page).text
    assert "Of 500 services 12 are shown" in text
    assert re.search(r"The other 93 settings? are grey|The other 93 are grey", text)
    assert "59 more are not shown" in text
    assert len(page) < 12_000_000


def test_lanes_that_are_left_out_are_counted(three_days: Replay) -> None:
    every = three_days.incidents[-1]
    many = replace(
        three_days,
        candidates=[candidate(f"c{number}") for number in range(20)],
        incidents=[every[:number] for number in range(20)],
        series={"ml-scorer": three_days.series["ml-scorer"]},
    )
    rows = [[replace(row, service_id="ml-scorer") for row in own] for own in many.incidents]
    card = score_replay(replace(many, incidents=rows), Labels())
    lanes = lanes_of(card, "ml-scorer")
    assert len(lanes) == 20 - sum(row.confirmed_at_ms is None for row in every[:19])
    text = Tags(page_of(card)).text
    assert f"{len(lanes) - LANES_MAX} more that say something else again" in text


def test_page_that_cannot_be_written_is_told(card: Scorecard, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", card)
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(TocsinError, match="cannot be written"):
        write_page(tmp_path / "none" / "page.html", card)
