"""`tocsin backtest`: what other settings would have made of what was logged."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tocsin.backtests import ShownView
from tocsin.cli_course import (
    INTERRUPTED,
    FromOption,
    OffsetsOption,
    ToOption,
    read_asked,
    shown_course,
    topic_named,
)
from tocsin.cli_outputs import OverwriteOption
from tocsin.cli_scores import (
    HtmlOption,
    JsonOption,
    LabelsOption,
    Outputs,
    ParquetOption,
    Report,
    UnlabelledOption,
    ViewOption,
    labels_for,
    show_report,
)
from tocsin.errors import SettingsError
from tocsin.log import configure_logging
from tocsin.patterns import unmatched
from tocsin.settings import Settings, load_settings
from tocsin.topics import named_by_hand

if TYPE_CHECKING:
    from flows.course import Course
    from flows.replayed import Candidate, Replay
    from flows.topic_range import Asked


def backtest(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Parquet, or NDJSON also .gz or .zst; without one, the topic is read",
            show_default=False,
        ),
    ] = None,
    start: FromOption = None,
    end: ToOption = None,
    offsets: OffsetsOption = None,
    topic: Annotated[
        str | None, typer.Option(help="Another topic than the flow's; nothing is known before it")
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Read the stored logs, not a topic")] = False,
    sigma: Annotated[str, typer.Option(help="Values of threshold_sigma, as 2.5,3,4")] = "",
    min_count: Annotated[str, typer.Option(help="Values of minimum_count, as 3,5,10")] = "",
    baseline: Annotated[str, typer.Option(help="Values of baseline_windows, as 15,30,60")] = "",
    preset: Annotated[str, typer.Option(help="guarded, plain or guarded,plain")] = "",
    numbers: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE,VALUE… of any other setting", show_default=False),
    ] = None,
    services: Annotated[
        str | None, typer.Option(help="Change them only for services that match, as 'batch-*'")
    ] = None,
    candidates: Annotated[
        Path | None, typer.Option(help=r"TOML: a \[grid], and [\[candidate]] by name")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="What is changed: live or default; of files default, else live"),
    ] = None,
    labels: LabelsOption = None,
    unlabelled: UnlabelledOption = None,
    view: ViewOption = ShownView.CONFIRMED,
    json: JsonOption = None,
    parquet: ParquetOption = None,
    html: HtmlOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Judge a range again, by the live settings and by others, and score what comes of it.

    Every combination of the values is tried, all in one pass. Nothing is written but the files that
    are named.
    """
    settings = load_settings()
    configure_logging(settings)
    from flows.candidates import candidates_of, grid_of, read_file, read_values, split

    outputs = Outputs(json, parquet, html)
    read_too = [path for path in (labels, candidates) if path is not None]
    outputs.check([*(files or []), *read_too], overwrite=overwrite)
    grid = read_values(numbers or [])
    short = {
        "threshold_sigma": sigma,
        "minimum_count": min_count,
        "baseline_windows": baseline,
        "preset": preset,
    }
    for name, values in short.items():
        if values and name in grid:
            raise SettingsError(f"{name}: given twice")
    grid = {name: split(values) for name, values in short.items() if values} | grid
    changes = grid_of(grid, services)
    if services is not None and not changes:
        raise SettingsError("--services: goes with values to try, as --min-count 3,5")
    if candidates is not None:
        changes += read_file(candidates)
    asked = read_asked(start, end, offsets)
    read = _reader(settings, files or [], asked, topic, logs=logs)
    tried = candidates_of(_base(settings, base, is_live=not files), changes)
    url = None if files and base != "live" else settings.database_url
    report = Report(*labels_for(labels, unlabelled, url), view, outputs)
    with shown_course() as course:
        replay = read(tried, course)
    patterns = dict.fromkeys(of for change in changes for of, _ in change.changes if of is not None)
    for told in unmatched(patterns, replay.series):
        typer.echo(f"tocsin: {told}", err=True)
    show_report(replay, report)
    if replay.ended_early:
        raise typer.Exit(INTERRUPTED)


def _reader(
    settings: Settings, files: list[Path], asked: "Asked", topic: str | None, *, logs: bool
) -> "Callable[[list[Candidate], Course], Replay]":
    """Return what reads what was asked for. Raises SettingsError for what does not go together."""
    from flows.backtest import backtest_files, backtest_logs, backtest_topic

    given = [("FILES", bool(files)), ("--logs", logs), ("--topic", topic is not None)]
    named = [name for name, is_given in given if is_given]
    if len(named) > 1:
        raise SettingsError(f"{named[0]} and {named[1]}: give one of them")
    if asked.offsets is not None and (files or logs):
        raise SettingsError(f"--offsets: goes with a topic, not with {named[0]}")
    if files:
        return lambda tried, course: backtest_files(files, asked, tried, course)
    if logs:
        return lambda tried, course: backtest_logs(settings, asked, tried, course)
    own = settings
    if topic is not None:
        own = msgspec.structs.replace(settings, topic=topic_named("--topic", topic))

    def read(tried: "list[Candidate]", course: "Course") -> "Replay":
        with named_by_hand(settings, topic):
            return backtest_topic(own, asked, tried, course)

    return read


def _base(settings: Settings, base: str | None, *, is_live: bool) -> "Candidate":
    from flows.candidates import default_candidate, live_candidate

    if base not in {None, "live", "default"}:
        raise SettingsError(f"--base is {base!r}: give live or default")
    if base == "default" or (base is None and not is_live):
        return default_candidate()
    from flows.backtest import database
    from sql.detection_settings import read_book

    with database(settings) as conn:
        return live_candidate(read_book(conn))
