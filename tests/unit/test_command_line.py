"""What the command line refuses it refuses in words of its own."""

from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from tocsin.cli import app
from tocsin.cli_times import read_time
from tocsin.errors import SettingsError


def test_value_that_is_none_of_the_choices_is_told_with_them_and_no_more() -> None:
    words = ["users", "create", "--email", "a@example.org", "--role", "boss"]
    with pytest.raises(typer.BadParameter) as error:
        app(words, standalone_mode=False)
    assert error.value.message == "'boss' is not one of 'admin', 'operator', 'viewer'."


def test_help_shows_the_brackets_of_a_file_of_candidates() -> None:
    shown = CliRunner().invoke(app, ["backtest", "--help"], env={"NO_COLOR": "1", "TERM": "dumb"})
    assert "[grid]" in shown.output
    assert "[[candidate]]" in shown.output


def test_version_is_that_of_the_package() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"tocsin {version('tocsin')}\n")


def test_time_without_its_zone_is_told_to_lack_that() -> None:
    with pytest.raises(SettingsError) as error:
        read_time("--from", "2026-11-28T21:00:00")
    assert str(error.value) == (
        "--from: '2026-11-28T21:00:00' lacks its time zone, add Z for UTC, or an offset as +01:00"
    )
