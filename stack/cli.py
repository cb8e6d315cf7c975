"""`python -m stack up` and `python -m stack down`, which make calls."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from stack import folders
from stack.errors import StackError
from stack.processes import marked_processes
from stack.running import CHECKOUT, MARK, Ports, Stack, running
from stack.state import load_state, lock_holder
from stack.waiting import wait_until

STATE_FOLDER = Path(os.environ.get("STACK_STATE_DIR") or CHECKOUT / ".tocsin")
COLORS = {"api": "cyan", "flow": "magenta"}

console = Console(highlight=False, soft_wrap=True)
errors = Console(highlight=False, soft_wrap=True, stderr=True)


class Ended(BaseException):
    """A signal asked this process to end."""


def main(argv: list[str]) -> int:
    """Run one command and return the exit code; an error is one line."""
    commands: dict[str, Callable[[], int]] = {"up": up, "down": down}
    if len(argv) != 1 or argv[0] not in commands:
        console.print("usage: python -m stack up|down")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        return commands[argv[0]]()
    except StackError as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}")
        return 1
    except Ended:
        return 130


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # What follows is cleaning up, which a second Ctrl-C must not cut short.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise Ended


def up() -> int:
    """Run servers, API and flow until Ctrl-C, SIGTERM, or the end of any of them."""
    with running(STATE_FOLDER, ports=Ports.fixed(os.environ), say=_say) as stack:
        _say("migrating")
        stack.run("tocsin", "migrate")
        stack.create_credentials()
        _say("starting the API and the flow")
        for name in ("api", "flow"):
            stack.start(name, relay=_print_line)
        stack.wait_ready()
        _introduce(stack)
        try:
            stack.watch()
        except Ended:
            _say("stopping; the data stays until `make down`")
    return 0


def down() -> int:
    """Stop what still runs of this checkout's stack and delete its data."""
    if not STATE_FOLDER.exists():
        _say("nothing to clean up")
        return 0
    if holder := lock_holder(STATE_FOLDER):
        _say(f"stopping the stack (pid {holder})")
        os.kill(holder, signal.SIGTERM)
        wait_until(lambda: not lock_holder(STATE_FOLDER), "the stack stops", deadline_s=90)
    for pid in marked_processes(MARK, str(STATE_FOLDER)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    folders.remove(load_state(STATE_FOLDER).name)
    shutil.rmtree(STATE_FOLDER)
    _say("stopped; the data is deleted")
    return 0


def _say(line: str) -> None:
    console.print(f"[dim]stack |[/dim] {escape(line)}")


def _print_line(process: str, line: str) -> None:
    console.print(Text(f"{process:5} | ", style=COLORS.get(process, "")) + Text.from_ansi(line))


def _introduce(stack: Stack) -> None:
    state = stack.state
    rows = {
        "API": stack.api_url,
        "API's description": f"{stack.api_url}/docs",
        "admin's email": state.admin_email,
        "admin's password": state.admin_password,
        "ingest key": state.ingest_key or "",
        "Kafka": stack.kafka_bootstrap,
        "SQL": stack.database_url,
        "secrets and logs": str(stack.folder),
    }
    console.print("\n[bold green]Tocsin is up[/bold green]; Ctrl-C stops it\n")
    # Whole lines, however narrow the terminal: these are there to be copied.
    for name, value in rows.items():
        console.print(f"  [bold]{name:18}[/bold] {escape(value)}")
    console.print()
