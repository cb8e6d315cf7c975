"""What the README shows of other files is what they say."""

from pathlib import Path

import typer

from tocsin.cli import app

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()


def test_readme_shows_the_rsyslog_template_as_it_is_shipped() -> None:
    template = (CHECKOUT / "docs/rsyslog/tocsin.conf").read_text()
    assert f"```\n{template}```\n" in README


def test_readme_lists_every_command() -> None:
    group = typer.main.get_command(app)
    commands = [
        f"`tocsin {name} {inner}".rstrip()
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        for inner in getattr(command, "commands", {"": None})
    ]
    assert len(commands) > 10
    assert [command for command in commands if f"| {command}" not in README] == []
