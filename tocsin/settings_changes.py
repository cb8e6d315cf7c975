"""Changes of the detection settings: as a person types them, and in words."""

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

from msgspec import Raw, structs

from tocsin.detection import DetectionSettings, Preset
from tocsin.errors import SettingsError
from tocsin.settings_versions import (
    FIXED,
    LEAD_MS,
    SettingsDocument,
    SettingsVersion,
    minute_of,
)

ALL_SERVICES = "all services"

DocumentChange = Callable[[SettingsDocument], SettingsDocument]

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
                f"{quoted(text)}: give a setting and its value, as threshold_sigma=2.5"
            )
        if name in changes:
            raise SettingsError(f"{name}: given twice")
        changes[name] = Raw(_json(name, value).encode())
    return changes


def change_of(texts: Sequence[str], services: str | None, before: str | None) -> DocumentChange:
    """Return the change of a document that a person has typed. Raises SettingsError.

    services: the pattern of those that it is for, placed before another one if that is given.
    """
    given = read_changes(texts)
    if before is not None and services is None:
        raise SettingsError("--before: places the pattern of --services, which is not given")

    def change(document: SettingsDocument) -> SettingsDocument:
        changed = document.with_change(services, given)
        if services is None or before is None:
            return changed
        return changed.moved(services, before)

    return change


def version_after(
    older: SettingsVersion, change: DocumentChange, present_ms: int
) -> SettingsVersion:
    """Return the version that a change makes of the newest one; it begins with that one.

    Raises SettingsError for numbers that cannot work, and where nothing would change.
    """
    document = change(older.document)
    newer = SettingsVersion(older.version + 1, older.effective_from_ms, document)
    newer.check()
    refuse_shadows(older.document, document)
    if not told(older, newer):
        raise SettingsError(
            f"that would change nothing: version {older.version} says the same"
            f"{_when_it_begins(older, present_ms)}"
        )
    return newer


def _when_it_begins(version: SettingsVersion, present_ms: int) -> str:
    """Say when a version begins that has not yet, and how to have its numbers earlier."""
    if version.effective_from_ms <= present_ms:
        return ""
    begins = f" from {minute_of(version.effective_from_ms)} UTC on"
    if version.effective_from_ms < present_ms + LEAD_MS:
        return begins
    return (
        f"{begins}; `tocsin detection withdraw {version.version}` takes it back, so that one can"
        " be made that begins earlier"
    )


def differences(before: DetectionSettings, after: DetectionSettings) -> list[tuple[str, str, str]]:
    """Return (name, before, after) of the settings that differ."""
    pairs = ((name, shown(getattr(before, name)), shown(getattr(after, name))) for name in names())
    return [(name, old, new) for name, old, new in pairs if old != new]


def told(
    before: SettingsVersion, after: SettingsVersion, service: str | None = None
) -> list[tuple[str, list[str]]]:
    """Say for whom what changes: for all services, then each pattern with what is its own.

    service: say it of this one alone. Nothing where no service is judged by other numbers.
    """
    if service is not None:
        own = differences(before.settings_for(service), after.settings_for(service))
        return [(service, _arrows(own))] if own else []
    common = differences(before.settings_of_pattern(None), after.settings_of_pattern(None))
    found = [(ALL_SERVICES, _arrows(common))]
    older, newer = (_patterns(version) for version in (before, after))
    for pattern in dict.fromkeys([*older, *newer]):
        own = differences(before.settings_of_pattern(pattern), after.settings_of_pattern(pattern))
        lines = _arrows(change for change in own if change not in common)
        if pattern not in newer:
            lines.append("no numbers of their own any more")
        found.append((pattern, lines))
    stay = [pattern for pattern in older if pattern in newer]
    order = [pattern for pattern in newer if pattern in older]
    if order != stay:
        found.append(("patterns", [f"asked in the order {', '.join(newer)}"]))
    return [(services, lines) for services, lines in found if lines]


def own_numbers(version: SettingsVersion, service: str | None) -> Iterator[str]:
    """Say which patterns have numbers of their own, and which of them judges a service."""
    document = version.document
    if service is not None:
        index = document.override_of(service)
        if index is not None:
            yield f"judged as the services like {document.overrides[index].services}"
        return
    shadows = dict(document.shadows())
    for pattern in _patterns(version):
        if pattern in shadows:
            yield f"services like {pattern}: judged as those like {shadows[pattern]}, asked first"
            continue
        telling = differences(
            version.settings_of_pattern(None), version.settings_of_pattern(pattern)
        )
        numbers = ", ".join(f"{name} {value} instead of {most}" for name, most, value in telling)
        yield f"services like {pattern}: {numbers or 'as all others'}"


def refuse_shadows(older: SettingsDocument, newer: SettingsDocument) -> None:
    """Raise SettingsError where a change would leave no service to a pattern."""
    known = older.shadows()
    for pattern, first in newer.shadows():
        if (pattern, first) not in known:
            raise SettingsError(
                f"no service would be left to {pattern}: all like it match {first}, which is asked "
                f"first; give --before {shlex.quote(first)}, or `tocsin detection remove` one"
            )


def shown(value: object) -> str:
    """Return a value as it is typed."""
    if isinstance(value, Preset):
        return value.value
    if isinstance(value, bool):
        return str(value).lower()
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


def _arrows(changes: Iterable[tuple[str, str, str]]) -> list[str]:
    return [f"{name} {old} -> {new}" for name, old, new in changes]


def _patterns(version: SettingsVersion) -> list[str]:
    return [override.services for override in version.document.overrides]


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


def quoted(text: str) -> str:
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
        raise SettingsError(f"{quoted(name)}: no such setting, {hint}")
    return defaults[name]
