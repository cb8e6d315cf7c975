"""The setting that names fields: what it names is used, the rest stays, and a mistake is told."""

import pytest

from tocsin.errors import SettingsError
from tocsin.field_names import FieldNames
from tocsin.settings import load_settings

DEFAULTS = FieldNames()


def load(text: str) -> FieldNames:
    return load_settings({"TOCSIN_FIELD_NAMES": text}).field_names


@pytest.mark.parametrize(
    "text",
    ["level=lvl, severity;message=text", '{"level": ["lvl", "severity"], "message": ["text"]}'],
)
def test_what_is_named_replaces_and_the_rest_stays(text: str) -> None:
    names = load(text)
    assert (names.level, names.message) == (("lvl", "severity"), ("text",))
    assert (names.timestamp, names.service_id) == (DEFAULTS.timestamp, DEFAULTS.service_id)


def test_names_are_written_as_the_setting_takes_them() -> None:
    assert FieldNames(str(DEFAULTS)) == DEFAULTS == load("")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("level", "'level' is not of the form field=name,name"),
        ("level=a;level=b", "level stands there twice"),
        ("level=", "level: '' cannot be the name of a field"),
        ("level=a..b", "level: 'a..b' cannot"),
        ("level=a\nb", "cannot be the name"),
        ("severity=a", "unknown field `severity`"),
        ("level=msg", "'msg' is named twice, for level and for message"),
        ("level=a,a", "'a' is named twice"),
        ('{"level": "a"}', "level"),
        ('{"level": []}', "level takes 1 to 64 names"),
        ('{"level": [7]}', "level"),
        ("{", "not valid JSON"),
    ],
)
def test_mistake_is_told_in_a_line_before_anything_starts(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(text)
    said = str(error.value)
    assert said.startswith("TOCSIN_FIELD_NAMES: ")
    assert told in said
    assert "\n" not in said
