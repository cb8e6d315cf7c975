"""Tables of the command line cut nothing, however narrow the terminal, and keep names whole."""

import json
import re
from datetime import datetime, timezone

import pytest

from sql.keys import KeyRow
from tocsin.cli_tables import show_objects, show_table

ID, NAME = "0b0e1c4e-5a7f-4a9e-8f65-6d2f3d2b1a90", "up-9001d4a3b2c1"
HEADS = ("id", "name", "services", "made (UTC)")
ROW = (ID, NAME, "checkout, batch-nightly, search [x]", "2026-03-02 08:00")


def columns(text: str) -> list[str]:
    """Return what stands in each column of a table of one row, its lines joined."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line for line in plain.splitlines() if line.startswith("│")]
    cells = zip(*([cell.strip() for cell in line.split("│")[1:-1]] for line in lines), strict=True)
    return ["".join(parts).replace(" ", "") for parts in cells]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_terminal_of_any_width_shows_every_character(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    terminal.setenv("COLUMNS", str(width))
    show_table(HEADS, [ROW], whole=("id", "name"))
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert columns(shown) == [cell.replace(" ", "") for cell in ROW]


def test_what_is_copied_keeps_to_one_line_where_there_is_room(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("COLUMNS", "90")
    show_table(HEADS, [ROW], whole=("id", "name"))
    shown = capsys.readouterr().out
    assert ID in shown
    assert NAME in shown
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines())) <= 90


def test_pipe_gets_whole_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    long = ("x" * 500, *ROW[1:])
    show_table(HEADS, [long, ROW], whole=("id",))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    cells = [tuple(cell.strip() for cell in line.split("│")[1:-1]) for line in rows]
    assert cells == [long, ROW]


def test_cells_neither_steer_the_terminal_nor_are_markup(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_table(("name",), [("\x1b[31m[bold]red\u202e",)])
    assert r"\x1b[31m[bold]red\u202e" in capsys.readouterr().out


def test_objects_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
    key = KeyRow(
        id="k1", name="é", services=None, created_at=at, last_used_at=None, revoked_at=None
    )
    show_objects([key, key])
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.isascii()
    assert json.loads(first) == {
        "id": "k1",
        "name": "é",
        "services": None,
        "created_at": "2026-03-02T08:00:00Z",
        "last_used_at": None,
        "revoked_at": None,
    }
