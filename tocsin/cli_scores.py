"""What `tocsin backtest` shows and writes of a replay: its scores against labels."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct
from rich.console import Console

from tocsin.backtests import ShownView, Unlabelled
from tocsin.cli_outputs import check_outputs, writable_file, writable_folder
from tocsin.cli_tables import counted, show_table

if TYPE_CHECKING:
    from flows.labels import Labels
    from flows.replayed import Replay
    from flows.scorecard import Scorecard


LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="CSV or JSON of what really was; else what `tocsin incidents` was told"
    ),
]
UnlabelledOption = Annotated[
    Unlabelled | None,
    typer.Option(
        help="What an incident without a label is; of a file false, of what was told open"
    ),
]
ViewOption = Annotated[ShownView, typer.Option(help="Which incidents are scored first")]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", callback=writable_file, help="Write the scores to this file"),
]
ParquetOption = Annotated[
    Path | None,
    typer.Option(
        "--parquet", callback=writable_folder, help="Write the scores as tables to this folder"
    ),
]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", callback=writable_file, help="Write one page with pictures")
]


class Outputs(Struct, frozen=True):
    """The files that the scores are written to."""

    json: Path | None = None
    parquet: Path | None = None
    html: Path | None = None

    def check(self, read: Iterable[Path] = (), *, overwrite: bool) -> None:
        """Raise SettingsError, before anything runs, for a file that would be lost.

        read: the files that the command reads.
        """
        from flows.score_frames import parquet_files

        files: dict[str, list[Path]] = {}
        for option, path in (("--json", self.json), ("--html", self.html)):
            if path is not None:
                files[option] = [path]
        if self.parquet is not None:
            files["--parquet"] = parquet_files(self.parquet)
        check_outputs(files, read, overwrite=overwrite)

    def write(self, cards: "Sequence[Scorecard]") -> None:
        """Write the files. Raises TocsinError."""
        from flows.score_frames import write_json, write_parquet

        if self.json is not None:
            write_json(self.json, cards)
        if self.parquet is not None:
            write_parquet(self.parquet, cards)
        if self.html is not None:
            from flows.page import write_page

            write_page(self.html, cards[0])

    def told(self) -> Iterator[str]:
        """Say what is written."""
        for path in (self.json, self.parquet, self.html):
            if path is not None:
                yield f"written: {path}"


class Report(Struct, frozen=True):
    """What is asked for of a replay's scores. labels: known before the replay begins."""

    labels: "Labels"
    where: str
    view: ShownView
    outputs: Outputs


def labels_for(
    path: Path | None, unlabelled: Unlabelled | None, database_url: str | None
) -> "tuple[Labels, str]":
    """Return the labels to score against and where they are from.

    database_url: None where nothing is known there. Raises LabelsError, StorageError.
    """
    from flows.label_files import read_labels
    from flows.labels import Labels
    from flows.said_labels import read_said_labels

    if path is not None:
        return read_labels(path, complete=unlabelled is not Unlabelled.OPEN), str(path)
    complete = unlabelled is Unlabelled.FALSE
    if database_url is None:
        return Labels(complete=complete), ""
    return read_said_labels(database_url, complete=complete), "the database"


def show_report(replay: "Replay", report: Report) -> None:
    """Write the files that are asked for, and show what came of a replay. Raises TocsinError."""
    from flows.label_files import of_services
    from flows.scorecard import View, score_views

    labels = report.labels.within(replay.begin_ms, replay.end_ms)
    labels, told = of_services(labels, replay.series, report.where)
    if told:
        typer.echo(f"tocsin: {told}", err=True)
    _tell_of_begun(report.labels.of_services(replay.series), replay.begin_ms)
    cards = score_views(replay, labels, View(report.view.value))
    console = Console(markup=False, highlight=False)
    try:
        # First: whoever reads the tables may stop reading, as `head` does.
        report.outputs.write(cards)
    finally:
        _show_replay(console, replay)
        _show_cards(console, cards)
    for line in report.outputs.told():
        console.print(line, soft_wrap=True)


def _tell_of_begun(labels: "Labels", begin_ms: int) -> None:
    from flows.wording import moment

    begun = labels.begun_before(begin_ms)
    if begun:
        first = moment(min(one.start_ms for one in begun))
        count, taken = ("it counts", "it") if len(begun) == 1 else ("they count", "them")
        typer.echo(
            f"tocsin: {counted(len(begun), 'label')} began before the range, so {count} neither"
            f" way: --from {first} takes {taken} in",
            err=True,
        )


def _show_cards(console: Console, cards: "list[Scorecard]") -> None:
    from flows.score_tables import tables

    for shown in tables(cards, console.width):
        console.print(shown)


def _show_replay(console: Console, replay: "Replay") -> None:
    """Say what was judged; where nothing is compared, list the incidents."""
    from flows.wording import moment

    if replay.ended_early:
        console.print("stopped before the end: this is what there was up to then", soft_wrap=True)
    late = f" {replay.late:,} came late," if replay.late else ""
    console.print(
        f"{counted(replay.records, 'record')} of {counted(len(replay.series), 'service')},"
        f" {counted(replay.dead_letters, 'dead letter')},{late}"
        f" arrived from {moment(replay.begin_ms)} to {moment(replay.end_ms)}",
        soft_wrap=True,
    )
    if len(replay.candidates) > 1:
        return
    heads = ("service", "kind", "window (UTC)", "confirmed", "resolved", "severity", "peak z")
    title = f"{replay.candidates[0].name}: {counted(len(replay.incidents[0]), 'incident')}"
    rows = []
    for row in replay.incidents[0]:
        times = (row.window_start_ms, row.confirmed_start_ms, row.resolved_start_ms)
        shown = ("" if at is None else moment(at)[:16].replace("T", " ") for at in times)
        rows.append(
            (row.service_id, row.kind.value, *shown, row.severity.value, f"{row.peak_z:.1f}")
        )
    show_table(heads, rows, whole=("service",), title=title)
