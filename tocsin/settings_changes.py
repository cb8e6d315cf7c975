"""Changes of the detection settings as a person types them: NAME=VALUE."""

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal

from msgspec import Raw, structs

from tocsin.detection import DetectionSettings, Preset
from tocsin.errors import SettingsError
from tocsin.settings_versions import FIXED, SettingsVersion

ALL_SERVICES = "all services"

_WHOLE = re.compile(r"-?[0-9]{1,9}")
_DECIMAL = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")


def names() -> list[str]:
    """Return the settings that a version may change."""
    return [name for name in DetectionSettings.__struct_fields__ if name not in FIXED]


def read_changes(texts: Iterable[str]) -> dict[str, Raw]:
    """Return the changes as JSON by name. Raises SettingsError, naming the setting."""
    changes: dict[str, Raw] = {}
    for text in texts:
        name, is_given, value = text.partition("=")
        if not is_given:
            raise SettingsError(
                f"{_quoted(text)}: give a setting and its value, as threshold_sigma=2.5"
            )
        if name in changes:
            raise SettingsError(f"{name}: given twice")
        changes[name] = Raw(_json(name, value).encode())
    return changes


def differences(before: DetectionSettings, after: DetectionSettings) -> list[tuple[str, str, str]]:
    """Return (name, before, after) of the settings that differ."""
    pairs = ((name, shown(getattr(before, name)), shown(getattr(after, name))) for name in names())
    return [(name, old, new) for name, old, new in pairs if old != new]


def scoped_differences(
    before: SettingsVersion, after: SettingsVersion
) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return for whom what differs: all services, then each pattern with what is its own."""
    common = differences(before.settings_of_pattern(None), after.settings_of_pattern(None))
    found = [(ALL_SERVICES, common)]
    overrides = [*before.document.overrides, *after.document.overrides]
    for pattern in dict.fromkeys(override.services for override in overrides):
        own = differences(before.settings_of_pattern(pattern), after.settings_of_pattern(pattern))
        found.append((pattern, [change for change in own if change not in common]))
    return [(services, changes) for services, changes in found if changes]


def shown(value: object) -> str:
    """Return a value as it is typed."""
    if isinstance(value, Preset):
        return value.value
    if isinstance(value, bool):
        return str(value).lower()
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


def _json(name: str, value: str) -> str:
    """Return a value as JSON of the type that the setting has."""
    default = _default(name)
    if isinstance(default, bool):
        if value not in {"true", "false"}:
            raise SettingsError(f"{name} is {value[:40]!r}: give true or false")
        return value
    if isinstance(default, Preset):
        if value not in {preset.value for preset in Preset}:
            raise SettingsError(f"{name} is {value[:40]!r}: give guarded or plain")
        return f'"{value}"'
    is_decimal = isinstance(default, Decimal)
    if not (_DECIMAL if is_decimal else _WHOLE).fullmatch(value):
        kind = "a number, as 2.5" if is_decimal else "a whole number of at most 9 digits"
        raise SettingsError(f"{name} is {value[:40]!r}: give {kind}")
    return shown(Decimal(value)) if is_decimal else str(int(value))


def _quoted(text: str) -> str:
    """Return the beginning of what a person typed, so that it fits into a line."""
    short = text[:40]
    return short if short and short.isprintable() else repr(short)


def _default(name: str) -> object:
    if name in FIXED:
        raise SettingsError(f"{name}: cannot be changed, every window's clock rests on it")
    defaults = structs.asdict(DetectionSettings())
    if name not in defaults:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`tocsin detection show` lists them"
        raise SettingsError(f"{_quoted(name)}: no such setting, {hint}")
    return defaults[name]
