"""What the README shows of other files is what they say."""

from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()


def test_readme_shows_the_rsyslog_template_as_it_is_shipped() -> None:
    template = (CHECKOUT / "docs/rsyslog/tocsin.conf").read_text()
    assert f"```\n{template}```\n" in README
