"""Settings: read once, checked, documented, and never spelled out in an error or a log."""

from pathlib import Path

import pytest
from rich.pretty import pretty_repr

from tocsin.errors import SettingsError
from tocsin.settings import Settings, load_settings, require_jwt_secrets, settings_table

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
        ({"TOCSIN_API_PORT": "x"}, "TOCSIN_API_PORT: expected `int`"),
        ({"TOCSIN_API_PORT": "70000"}, "TOCSIN_API_PORT: expected `int` <= 65535"),
        ({"TOCSIN_LOGS_KEEP_DAYS": "-1"}, "TOCSIN_LOGS_KEEP_DAYS: expected `int` >= 0"),
        # What PostgreSQL's times and settings could not hold.
        (
            {"TOCSIN_DEAD_LETTERS_KEEP_DAYS": "3000000"},
            "TOCSIN_DEAD_LETTERS_KEEP_DAYS: expected `int` <= 36500",
        ),
        (
            {"TOCSIN_COLUMNSTORE_DAYS": "9999999999"},
            "TOCSIN_COLUMNSTORE_DAYS: expected `int` <= 36500",
        ),
        (
            {"TOCSIN_ANALYST_TIMEOUT_S": "99999999"},
            "TOCSIN_ANALYST_TIMEOUT_S: expected `int` <= 604800",
        ),
        ({"TOCSIN_REGISTRATION": "maybe"}, "TOCSIN_REGISTRATION: invalid enum value"),
        ({"TOCSIN_EPOCH_S": "0"}, "TOCSIN_EPOCH_S: expected `float` > 0"),
        ({"TOCSIN_TOPIC": "a b"}, "TOCSIN_TOPIC: expected `str` matching"),
        ({"TOCSIN_TOPIC": "logs\n"}, "TOCSIN_TOPIC: expected `str` matching"),
        ({"TOCSIN_LIMIT_KEY_RECORDS": "many"}, "TOCSIN_LIMIT_KEY_RECORDS: expected `str` matching"),
        ({"TOCSIN_LIMIT_KEY_RECORDS": "0/minute"}, "TOCSIN_LIMIT_KEY_RECORDS"),
        ({"TOCSIN_LIMIT_STORAGE": "disk"}, "TOCSIN_LIMIT_STORAGE"),
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
