"""`python -m stack up`, `show` and `down`, which make calls."""

import contextlib
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from stack import folders
from stack.commands import CHECKOUT, MARK, procfile_commands, require_settings
from stack.ending import Ended, undisturbed_afterwards
from stack.errors import StackError
from stack.ports import Ports
from stack.processes import marked_processes
from stack.running import running
from stack.state import State, load_state, lock_holder
from stack.waiting import wait_until

STATE_FOLDER = Path(os.environ.get("STACK_STATE_DIR") or CHECKOUT / ".tocsin")
COLORS = {"api": "cyan", "flow": "magenta", "maintain": "blue"}


class _Output(Console):
    """Standard output, which whoever has read enough of it may close."""

    def on_broken_pipe(self) -> None:
        """End without an error."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(0) from None


console = _Output(highlight=False, soft_wrap=True)
errors = Console(highlight=False, soft_wrap=True, stderr=True)


def main(argv: list[str]) -> int:
    """Run one command and return the exit code; an error is one line, a signal raises Ended."""
    commands: dict[str, Callable[[], int]] = {"up": up, "show": show, "down": down}
    if len(argv) != 1 or argv[0] not in commands:
        console.print("usage: python -m stack up|show|down")
        return 2
    try:
        return commands[argv[0]]()
    except StackError as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}")
        return 1


def up() -> int:
    """Run servers, API and flow until Ctrl-C, SIGTERM, or the end of any of them."""
    ports = Ports.fixed(os.environ)
    require_settings(os.environ)
    with running(STATE_FOLDER, ports=ports, say=_say) as stack, undisturbed_afterwards():
        _say("migrating")
        stack.migrate()
        stack.create_credentials()
        _say("starting the API, the flow and the maintenance")
        for name in procfile_commands():
            stack.start(name, relay=_print_line)
        stack.wait_ready()
        stack.remember_places()
        console.print("\n[bold green]Tocsin is up[/bold green]; Ctrl-C stops it\n")
        _print_access(stack.state)
        try:
            stack.watch()
        except Ended:
            _say("stopping; the data stays until `make down`")
    return 0


def show() -> int:
    """Print where the stack is reached, whether it runs or was stopped, and the credentials."""
    state = load_state(STATE_FOLDER) if (STATE_FOLDER / "state.json").exists() else None
    if state is None or state.api_url is None:
        raise StackError("there is nothing to show yet: `make up` makes it")
    if holder := lock_holder(STATE_FOLDER):
        console.print(f"\nTocsin runs (pid {holder})\n")
    else:
        console.print("\nTocsin is stopped; after the next `make up` these hold again\n")
    _print_access(state)
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
    state = load_state(STATE_FOLDER)
    folders.remove(state.name)
    shutil.rmtree(STATE_FOLDER)
    _say("stopped; the data is deleted")
    void = [name for name, value in state.own_exports.items() if os.environ.get(name) == value]
    if void:
        _say(f"now `unset {' '.join(void)}`: what they name is gone")
    return 0


def _say(line: str) -> None:
    console.print(f"[dim]stack |[/dim] {escape(line)}")


def _print_line(process: str, line: str) -> None:
    console.print(Text(f"{process:8} | ", style=COLORS.get(process, "")) + Text.from_ansi(line))


def _print_access(state: State) -> None:
    rows = {
        "API": state.api_url,
        "API's description": f"{state.api_url}/docs",
        "admin's email": state.admin_email,
        "admin's password": state.admin_password,
        "ingest key": state.ingest_key,
        "SQL, to read": state.analyst_url,
        "secrets and logs": str(STATE_FOLDER),
    }
    # Whole lines, however narrow the terminal: these are there to be copied.
    for name, value in rows.items():
        if value:
            console.print(f"  [bold]{name:18}[/bold] {escape(value)}")
    console.print("\nFor the commands of `tocsin`, as its owner, and of the documentation:\n")
    for name, value in state.exports.items():
        console.print(f"  export {name}={escape(shlex.quote(value))}")
    console.print()
