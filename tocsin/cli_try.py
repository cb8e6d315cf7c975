"""`tocsin detection try`: what a change of the numbers would have changed, before it is made."""

import shlex
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tocsin.cli_course import INTERRUPTED, shown_course
from tocsin.cli_detection import (
    Before,
    Changes,
    Services,
    Start,
    plain_console,
    read_start,
    tell,
)
from tocsin.cli_outputs import OverwriteOption
from tocsin.cli_scores import JsonOption, Outputs, labels_for
from tocsin.cli_tables import counted
from tocsin.detection import WINDOW_MS
from tocsin.log import configure_logging
from tocsin.patterns import unmatched
from tocsin.settings import Settings, load_settings
from tocsin.settings_changes import change_of, version_after
from tocsin.settings_versions import SettingsVersion, minute_of, next_window_start_ms

if TYPE_CHECKING:
    from rich.console import Console

    from flows.replayed import Candidate, Replay

_DAY_MS: Final = 86_400_000
_TRIED: Final = "tried"


def try_numbers(
    changes: Changes,
    services: Services = None,
    before: Before = None,
    start: Start = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days to look back")] = 7,
    logs: Annotated[
        bool, typer.Option("--logs", help="Read the stored logs, also where the topic has all")
    ] = False,
    json: JsonOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Say what a change, given as to `set`, would have changed over the last days; set nothing.

    The newest version, which all later ones are built on, is compared with itself, changed; both
    judge all of the time.
    """
    settings = load_settings()
    configure_logging(settings)
    change = change_of(changes, services, before)
    start_ms = None if start is None else read_start(start)
    outputs = Outputs(json)
    outputs.check(overwrite=overwrite)
    from flows.backtest import database
    from flows.change_words import in_words
    from flows.replayed import LIVE, Candidate
    from flows.scorecard import View, score_replay
    from sql.detection_settings import now_ms, read_book

    with database(settings) as conn:
        newest, present_ms = read_book(conn).versions[-1], now_ms(conn)
    tried = version_after(newest, change, present_ms)
    labels, _ = labels_for(None, None, settings.database_url)
    pair = [Candidate(LIVE, (newest,)), Candidate(_TRIED, (tried,))]
    replay, source = _replay(settings, pair, days, logs=logs)
    own = labels.of_services(replay.series)
    cards = [score_replay(replay, own, view) for view in View]
    outputs.write(cards)
    console = plain_console()
    _tell_range(console, replay, source, days, newest)
    tell(console, newest, tried)
    missed = list(unmatched([] if services is None else [services], replay.series))
    for line in missed or in_words(cards):
        console.print(line)
    for line in outputs.told():
        console.print(line)
    if not missed:
        given = [*changes, *_option("--services", services), *_option("--before", before)]
        if start_ms is not None and start_ms >= next_window_start_ms(int(time.time() * 1000)):
            given += _option("--from", start)
        console.print(f"to apply: tocsin detection set {shlex.join(given)}")
    if replay.ended_early:
        raise typer.Exit(INTERRUPTED)


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [name, value]


def _replay(
    settings: Settings, pair: "list[Candidate]", days: int, *, logs: bool
) -> "tuple[Replay, str]":
    """Judge the last days by both; return what came of it, and from where it was read."""
    from flows.backtest import backtest_logs, backtest_topic, topic_reaches
    from flows.topic_range import Asked

    from_ms = int(time.time() * 1000) - days * _DAY_MS
    with shown_course() as course:
        if logs:
            return backtest_logs(settings, Asked(from_ms), pair, course), "the stored logs"
        if course.ask("Kafka", lambda: topic_reaches(settings, from_ms)):
            return backtest_topic(settings, Asked(from_ms), pair, course), "the topic"
        told = "the stored logs, for the topic no longer reaches back so far"
        return backtest_logs(settings, Asked(from_ms), pair, course), told


def _tell_range(
    console: "Console", replay: "Replay", source: str, days: int, newest: SettingsVersion
) -> None:
    """Say what was judged, and where it is less, or another thing, than one may think."""
    if replay.ended_early:
        console.print("stopped before the end: this is what there was up to then")
    span = "day" if days == 1 else f"{days} days"
    console.print(
        f"over the last {span} ({counted(replay.records, 'record')} of"
        f" {counted(len(replay.series), 'service')}, from {source}):"
    )
    first_ms = min((one.first_start_ms for one in replay.series.values()), default=replay.begin_ms)
    if first_ms > replay.begin_ms + WINDOW_MS:
        console.print(f"  the first is of {minute_of(first_ms)} UTC")
    if newest.effective_from_ms > replay.begin_ms:
        since = minute_of(newest.effective_from_ms)
        console.print(
            f"  now is version {newest.version}, as if it had judged before {since} UTC, too"
        )
