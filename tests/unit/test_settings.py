"""Settings: read once, checked, documented, and never spelled out in an error or a log."""

import json
from pathlib import Path

import pytest
from rich.pretty import pretty_repr

from tocsin.cli import app
from tocsin.errors import SettingsError
from tocsin.settings import (
    Settings,
    load_settings,
    require_jwt_secrets,
    settings_table,
    values_table,
)

README = Path(__file__).parents[2] / "README.md"


def test_readme_lists_every_setting_with_its_default_and_meaning() -> None:
    section = README.read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if "`" in line[:4]]
    documented = [(name.strip("`"), default.strip("`"), help_) for name, default, help_ in rows]
    expected = [
        (name, "none" if default == "(none)" else default, help_)
        for name, default, help_ in settings_table()
    ]
    assert documented == expected


def test_every_setting_says_what_it_is_for() -> None:
    assert all(help_ for _, _, help_ in settings_table())


def test_defaults_need_no_environment() -> None:
    assert load_settings({}) == Settings()


def test_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"TOCSIN_API_PORT": ""}).api_port == 8000


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"TOCSIN_API_PORT": "x"},
            "TOCSIN_API_PORT: 'x' is not a whole number, at least 1 and at most 65,535, as 8000",
        ),
        ({"TOCSIN_API_PORT": "70000"}, "TOCSIN_API_PORT: '70000' is not a whole number"),
        (
            {"TOCSIN_REGISTRATION": "maybe"},
            "TOCSIN_REGISTRATION: 'maybe' is not open or closed, as closed",
        ),
        ({"TOCSIN_EPOCH_S": "0"}, "TOCSIN_EPOCH_S: '0' is not a number, above 0, as 10.0"),
        ({"TOCSIN_TOPIC": "a b"}, "TOCSIN_TOPIC: 'a b' is not 1 to 200 of the characters"),
        ({"TOCSIN_TOPIC": "logs\n"}, "TOCSIN_TOPIC: 'logs\\n' is not"),
        ({"TOCSIN_LIMIT_KEY_RECORDS": "many"}, "'many' is not a rate or `off`, as 6000000/minute"),
        (
            {"TOCSIN_LOGS_KEEP_DAYS": "-1"},
            "TOCSIN_LOGS_KEEP_DAYS: '-1' is not a whole number, at least 0 and at most 36,500",
        ),
        # What PostgreSQL's times and settings could not hold.
        ({"TOCSIN_DEAD_LETTERS_KEEP_DAYS": "3000000"}, "and at most 36,500, as 400"),
        ({"TOCSIN_COLUMNSTORE_DAYS": "9999999999"}, "and at most 36,500, as 7"),
        ({"TOCSIN_ANALYST_TIMEOUT_S": "99999999"}, "and at most 604,800, as 60"),
        ({"TOCSIN_LIMIT_KEY_RECORDS": "0/minute"}, "TOCSIN_LIMIT_KEY_RECORDS"),
        ({"TOCSIN_LIMIT_STORAGE": "disk"}, "TOCSIN_LIMIT_STORAGE"),
        ({"TOCSIN_FIELD_NAMES": "level"}, "TOCSIN_FIELD_NAMES: "),
        ({"TOCSIN_REGISTRATON": "open"}, "did you mean TOCSIN_REGISTRATION?"),
    ],
)
def test_unusable_setting_is_named_in_one_line(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(environ)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("secret", ["", "short"])
def test_missing_or_short_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(SettingsError, match="TOCSIN_JWT_SECRET") as error:
        require_jwt_secrets(load_settings({"TOCSIN_JWT_SECRET": secret}))
    assert "short" not in str(error.value)


def test_short_previous_secret_is_refused_without_being_shown() -> None:
    environ = {"TOCSIN_JWT_SECRET": "x" * 32, "TOCSIN_JWT_SECRET_PREVIOUS": "short"}
    with pytest.raises(SettingsError, match="TOCSIN_JWT_SECRET_PREVIOUS: 5 bytes") as error:
        require_jwt_secrets(load_settings(environ))
    assert "short" not in str(error.value)


def test_settings_never_show_their_values() -> None:
    settings = load_settings(
        {"TOCSIN_JWT_SECRET": "s3cret" * 8, "DATABASE_URL": "postgresql://u:pw@h/d"}
    )
    assert "s3cret" not in f"{settings!r} {settings}"
    assert "pw" not in f"{settings!r} {settings}"
    shown = pretty_repr(settings)
    assert "s3cret" not in shown
    assert "pw" not in shown


def test_values_in_force_are_told_but_for_secrets() -> None:
    environ = {
        name: "s3cret" * 8
        for name, _, _ in settings_table()
        if "SECRET" in name or "PASSWORD" in name
    }
    assert len(environ) == 5
    urls = {
        "DATABASE_URL": "postgresql://u:s3cret@h:5433/d?password=s3cret",
        "TOCSIN_LIMIT_STORAGE": "redis://:s3cret@cache:6379/0",
    }
    rows = values_table(load_settings({**environ, **urls, "TOCSIN_API_PORT": "8123"}))
    assert "s3cret" not in str(rows)
    values = {name: (value, default) for name, value, default, _ in rows}
    assert values["TOCSIN_API_PORT"] == ("8123", "8000")
    assert values["DATABASE_URL"][0] == "postgresql://u:***@h:5433/d?…"
    assert values["TOCSIN_LIMIT_STORAGE"] == ("redis://:***@cache:6379/0", "memory")
    assert values["TOCSIN_JWT_SECRET"] == ("(set)", "(none)")
    assert values["TOCSIN_JWT_TTL_S"] == ("900", "900")


def test_connection_string_that_is_no_url_is_not_shown() -> None:
    rows = values_table(load_settings({"DATABASE_URL": "host=h password=s3cret"}))
    assert rows[0][:2] == ("DATABASE_URL", "(set)")


@pytest.mark.parametrize("text", ["x://:s3cret@h", "s3cret"])
def test_setting_that_may_hold_a_password_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="TOCSIN_LIMIT_STORAGE: what it is set to") as error:
        load_settings({"TOCSIN_LIMIT_STORAGE": text})
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("TOCSIN_API_PROT", "8123", "did you mean TOCSIN_API_PORT?"),
        ("TOCSIN_API_PORT", "abc", "'abc' is not a whole number"),
    ],
)
def test_settings_command_complains_as_every_command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    said: str,
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as error:
        app(["settings"], standalone_mode=False)
    assert said in str(error.value)
    listed = capsys.readouterr().out
    assert all(variable in listed for variable, _, _ in settings_table())


def test_settings_command_shows_the_values_in_force(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOCSIN_API_PORT", "8123")
    app(["settings"], standalone_mode=False)
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines()]
    [port] = [row for row in rows if len(row) > 1 and row[1].strip() == "TOCSIN_API_PORT"]
    assert [cell.strip() for cell in port[2:4]] == ["8123", "8000"]


def test_settings_command_tells_programs_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOCSIN_API_PORT", "8123")
    monkeypatch.setenv("TOCSIN_JWT_SECRET", "secret-" * 8)
    app(["settings", "--json"], standalone_mode=False)
    listed = capsys.readouterr().out
    rows = {row["variable"]: row for row in map(json.loads, listed.splitlines())}
    assert list(rows) == [variable for variable, _, _ in settings_table()]
    assert (rows["TOCSIN_API_PORT"]["value"], rows["TOCSIN_API_PORT"]["default"]) == (
        "8123",
        "8000",
    )
    assert "secret-" not in listed
