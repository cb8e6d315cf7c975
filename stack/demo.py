"""The demonstration: the whole stack, some history, a burst of errors, and the incident."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from typing import Any

import httpx
import psycopg
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stack import story
from stack.commands import Stack, require_settings
from stack.ending import Ended, raise_ended_at_signals, undisturbed_afterwards
from stack.errors import StackError
from stack.running import temporary
from stack.timescale import DURABLE
from stack.waiting import wait_until

HISTORY_MINUTES = 35
BURST_ERRORS = 60
_DEADLINE_S = 30
_EVERY_S = 0.01
_LINES = 5


def demo(console: Console) -> None:
    """Play the main job on servers of its own, which are gone at the end.

    Raises StackError, one line, when something does not come true; exits 130 when interrupted.
    """
    raise_ended_at_signals()
    require_settings(os.environ)
    try:
        with _steps(console) as steps, ExitStack() as cleanup:
            with _step(steps, "TimescaleDB and a Kafka broker") as say:
                stack = cleanup.enter_context(temporary(settings=DURABLE, say=say))
            cleanup.enter_context(undisturbed_afterwards())
            _play(console, steps, stack)
    except Ended:
        console.print("stopped")
        raise SystemExit(130) from None


def _play(console: Console, steps: Progress, stack: Stack) -> None:
    with _step(steps, "schema and topics"):
        stack.migrate()
    with _step(steps, "API and flow"):
        stack.create_credentials()
        stack.start("api")
        stack.start("flow")
        stack.wait_ready()
    with httpx.Client(base_url=stack.api_url, timeout=30) as client:
        token = _log_in(client, stack)
        posted = _post_history(steps, client, stack)
        with _step(steps, "history stored and counted by the flow"):
            _wait_until_counted(stack, posted)
        with _step(steps, f"burst of errors on {story.BROKEN}, live"):
            incident_id, took_s = _burst(client, stack, token)
            incident, lines = _evidence(client, stack, incident_id, token)
        steps.stop()
        console.print(_picture(incident, lines, took_s, posted))


def _log_in(client: httpx.Client, stack: Stack) -> str:
    who = {"email": stack.state.admin_email, "password": stack.state.admin_password}
    return str(_answer(client.post("/auth/login", json=who))["access_token"])


def _post_history(steps: Progress, client: httpx.Client, stack: Stack) -> int:
    """Post the quiet minutes, a batch each, and return how many records they were."""
    posted = 0
    what = "history of five services"
    step = steps.add_task(what, total=HISTORY_MINUTES)
    for records in story.quiet_minutes(datetime.now(timezone.utc), minutes=HISTORY_MINUTES):
        answer = _answer(client.post("/ingest", json=records, headers=_key(stack)))
        posted += int(answer["accepted"])
        steps.advance(step)
    steps.update(step, description=f"{what}: {posted:,} records")
    _tell(steps, f"{what}: {posted:,} records")
    return posted


def _wait_until_counted(stack: Stack, records: int) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as conn:

        def counted() -> bool:
            stack.require_running()
            return conn.execute("SELECT sum(total) FROM error_windows").fetchone() == (records,)

        wait_until(counted, "the history is counted", deadline_s=_DEADLINE_S)


def _burst(client: httpx.Client, stack: Stack, token: str) -> tuple[str, float]:
    """Post errors, one a request; return the id of the incident and the seconds until it showed.

    The time runs from the moment before the first error's POST to the answer that shows it.
    """
    began = time.perf_counter()
    poster = threading.Thread(target=_post_errors, args=[stack], daemon=True)
    poster.start()

    def visible() -> str | None:
        stack.require_running()
        newest = _answer(client.get("/incidents?limit=1", headers=_bearer(token)))["data"]
        return str(newest[0]["id"]) if newest else None

    incident_id = wait_until(
        visible, "the incident shows", deadline_s=_DEADLINE_S, every_s=_EVERY_S
    )
    took_s = time.perf_counter() - began
    poster.join()
    return incident_id or "", took_s


def _post_errors(stack: Stack) -> None:
    with httpx.Client(base_url=stack.api_url, timeout=30) as client:
        for number in range(BURST_ERRORS):
            record = story.error(datetime.now(timezone.utc), number)
            client.post("/ingest", json=record, headers=_key(stack))


def _evidence(
    client: httpx.Client, stack: Stack, incident_id: str, token: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the incident and its first log lines, once the whole burst is stored."""

    def stored() -> list[dict[str, Any]] | None:
        stack.require_running()
        path = f"/incidents/{incident_id}/logs?limit={_LINES}"
        logs = _answer(client.get(path, headers=_bearer(token)))
        return list(logs["data"]) if logs["meta"]["total"] >= BURST_ERRORS else None

    lines = wait_until(stored, "the incident's logs show", deadline_s=_DEADLINE_S)
    incident = _answer(client.get(f"/incidents/{incident_id}", headers=_bearer(token)))
    return incident, lines or []


def _picture(
    incident: dict[str, Any], lines: list[dict[str, Any]], took_s: float, posted: int
) -> Panel:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    for name, value in (
        ("service", incident["service_id"]),
        ("severity", f"[bold red]{incident['severity']}[/bold red]"),
        ("observed", f"{incident['observed']} errors in one minute"),
        (
            "baseline",
            (
                f"mean {incident['mean']:.2f}, standard deviation {incident['sigma']:.2f} "
                f"over {incident['baseline_windows']} minutes"
            ),
        ),
        ("z", f"{incident['z']:.1f}"),
        ("out of", f"{posted:,} records of {len(story.FLEET)} services"),
        ("visible after", f"[bold green]{took_s * 1000:.0f} ms[/bold green] (first error's POST)"),
    ):
        facts.add_row(name, value)
    logs = Table.grid(padding=(0, 2))
    for line in lines:
        logs.add_row(
            Text(str(line["timestamp"])[11:23], style="dim"),
            Text(line["level"], style="red"),
            Text(line["message"]),
        )
    body = Table.grid()
    for part in (facts, Text("\nfirst correlated log lines", style="dim"), logs):
        body.add_row(part)
    return Panel(body, title=Text(incident["title"]), border_style="red", expand=False)


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise StackError(
            f"{response.request.method} {response.request.url.path} was answered "
            f"{response.status_code}: {response.text[:200]}"
        )
    return dict(response.json())


def _key(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.state.ingest_key}"}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def _steps(console: Console) -> Iterator[Progress]:
    columns = (
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_interactive) as steps:
        yield steps


@contextmanager
def _step(steps: Progress, what: str) -> Iterator[Callable[[str], None]]:
    """Show a step while it lasts; what is said of it stands in its name's place meanwhile."""
    task = steps.add_task(what, total=None)
    _tell(steps, what)

    def say(detail: str) -> None:
        steps.update(task, description=detail)
        _tell(steps, f"  {detail}")

    yield say
    steps.update(task, description=what, total=1, completed=1)


def _tell(steps: Progress, line: str) -> None:
    """Print a plain line where steps can't be shown while they last."""
    if not steps.console.is_interactive:
        steps.console.print(line)
