"""What the command line refuses it refuses in words of its own."""

import pytest
import typer
from typer.testing import CliRunner

from tocsin.cli import app


def test_value_that_is_none_of_the_choices_is_told_with_them_and_no_more() -> None:
    words = ["users", "create", "--email", "a@example.org", "--role", "boss"]
    with pytest.raises(typer.BadParameter) as error:
        app(words, standalone_mode=False)
    assert error.value.message == "'boss' is not one of 'admin', 'operator', 'viewer'."


def test_help_shows_the_brackets_of_a_file_of_candidates() -> None:
    shown = CliRunner().invoke(app, ["backtest", "--help"], env={"NO_COLOR": "1", "TERM": "dumb"})
    assert "[grid]" in shown.output
    assert "[[candidate]]" in shown.output
