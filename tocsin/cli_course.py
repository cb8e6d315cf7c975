"""What commands that read a range share: its options, and a course that signals end and is shown.

It ends on Ctrl-C and SIGTERM.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tocsin.cli_times import read_time
from tocsin.errors import SettingsError
from tocsin.records import EPOCH
from tocsin.settings import TOPIC_NAME
from tocsin.signals import heard

if TYPE_CHECKING:
    from flows.course import Course
    from flows.topic_range import Asked

INTERRUPTED: Final = 130
"""What a command exits with that a signal has ended."""

FromOption = Annotated[str | None, typer.Option("--from", help="Arrivals from then on, RFC 3339")]
ToOption = Annotated[str | None, typer.Option("--to", help="Arrivals before then")]
OffsetsOption = Annotated[
    str | None,
    typer.Option(help="PARTITION:BEGIN-END,… of the topic, instead of times; ends exclusive"),
]
_REFRESH_S = 0.2


def read_asked(start: str | None, end: str | None, offsets: str | None) -> "Asked":
    """Read a range as a person has named it. Raises SettingsError, naming the option."""
    from flows.topic_range import Asked, read_offsets

    if offsets is not None:
        if start is not None or end is not None:
            raise SettingsError("--offsets: give either offsets or times")
        return Asked(offsets=read_offsets(offsets))
    from_ms = None if start is None else _ms("--from", start)
    to_ms = None if end is None else _ms("--to", end)
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise SettingsError("--from: is not before --to")
    return Asked(from_ms, to_ms)


def topic_named(option: str, topic: str) -> str:
    """Return a topic's name. Raises SettingsError for what cannot be one."""
    if not re.match(TOPIC_NAME, topic) or topic in {".", ".."}:
        raise SettingsError(f"{option}: {topic[:40]!r} is no topic's name")
    return topic


def _ms(option: str, text: str) -> int:
    return (read_time(option, text) - EPOCH) // timedelta(milliseconds=1)


@contextmanager
def shown_course() -> "Iterator[Course]":
    """Lend a course that Ctrl-C and SIGTERM end; show on the terminal how far it has come."""
    from flows.course import Course

    course = Course()
    over = threading.Event()
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    watching = threading.Thread(target=_watch, args=(course, bar, over), daemon=True)
    try:
        with heard(lambda _: course.stopping.set()), bar:
            watching.start()
            yield course
    finally:
        over.set()


def _watch(course: "Course", bar: Progress, over: threading.Event) -> None:
    task: TaskID | None = None
    while not over.wait(_REFRESH_S):
        if task is None:
            task = bar.add_task("", total=None, told="")
        if course.waited_for is not None:
            bar.update(task, description=f"waiting for {course.waited_for}")
            continue
        rate = course.records / max(bar.tasks[0].elapsed or 1.0, _REFRESH_S)
        bar.update(
            task,
            description=f"{course.share:4.0%}",
            total=1.0,
            completed=course.share,
            told=f"{course.records:,} records, {rate:,.0f}/s",
        )
