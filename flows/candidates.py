"""The settings that a backtest tries: a grid of values, or a file of them, on top of others."""

import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from msgspec import Raw, Struct

from flows.replayed import LIVE, Candidate
from tocsin.backtests import CANDIDATES_MAX
from tocsin.errors import SettingsError
from tocsin.settings_changes import names, quoted, read_changes
from tocsin.settings_versions import SettingsBook, SettingsDocument, SettingsVersion

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULTS: Final = "default"
"""Name of the candidate that is the settings as shipped."""
SHORT: Final = {
    "sigma": "threshold_sigma",
    "min-count": "minimum_count",
    "baseline": "baseline_windows",
    "preset": "preset",
}
"""What the settings that are tried most are called for short."""
_NAMES: Final = {name: short for short, name in SHORT.items()}

Grid = Mapping[str, Sequence[str]]
"""The values of each setting, as they are typed."""


class Change(Struct, frozen=True):
    """What a candidate changes: by pattern of services, None for all; values as JSON."""

    name: str
    changes: tuple[tuple[str | None, dict[str, Raw]], ...]


def live_candidate(book: SettingsBook) -> Candidate:
    """Return the candidate that judges as the live flow does."""
    return Candidate(LIVE, book.versions)


def default_candidate() -> Candidate:
    """Return the candidate of the settings as shipped."""
    return Candidate(DEFAULTS, (SettingsVersion(1, 0, SettingsDocument()),))


def candidates_of(base: Candidate, changes: Iterable[Change]) -> list[Candidate]:
    """Return the base and, on top of it, every change.

    Each version of the base is changed, so that each still judges its own windows. Raises
    SettingsError for numbers that cannot work, for a name that is there twice, and for too many.
    """
    found = [base]
    names = {base.name}
    for change in changes:
        if change.name in names:
            raise SettingsError(f"two candidates are named {change.name!r}")
        names.add(change.name)
        if len(found) > CANDIDATES_MAX:
            raise SettingsError(f"more than {CANDIDATES_MAX} candidates: try fewer values at once")
        found.append(Candidate(change.name, _changed(base, change)))
    return found


def grid_of(grid: Grid, services: str | None = None) -> list[Change]:
    """Return every combination of the values; services: a pattern of those that they are for."""
    checked = {name: list(dict.fromkeys(values)) for name, values in grid.items() if values}
    if not checked:
        return []
    size = 1
    for values in checked.values():
        size *= len(values)
    if size > CANDIDATES_MAX:
        raise SettingsError(
            f"the grid has {size} candidates, at most {CANDIDATES_MAX} are taken: "
            "try fewer values at once"
        )
    rows = itertools.product(*([(name, value) for value in own] for name, own in checked.items()))
    suffix = "" if services is None else f" for {services}"
    return [_change(row, services, suffix) for row in rows]


def read_values(texts: Iterable[str]) -> dict[str, list[str]]:
    """Read `name=value,value` of each text. Raises SettingsError, naming the nearest setting."""
    grid: dict[str, list[str]] = {}
    for text in texts:
        name, is_given, values = text.partition("=")
        if not is_given:
            raise SettingsError(
                f"{text[:40]!r}: give a setting and its values, as minimum_count=3,5,10"
            )
        name = _in_full(name)
        if name in grid:
            raise SettingsError(f"{name}: given twice")
        grid[name] = split(values)
    return grid


def split(values: str) -> list[str]:
    """Return what commas part; nothing of an empty text."""
    return [value.strip() for value in values.split(",")] if values else []


def read_file(path: Path) -> list[Change]:
    """Read candidates from TOML: a `[grid]` and any number of `[[candidate]]`.

    Raises SettingsError, naming the file and what is wrong with it.
    """
    try:
        # As text, so that 2.5 is read as it was written.
        document = tomllib.loads(path.read_bytes().decode(), parse_float=str)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # of a number of thousands of digits, too
        raise SettingsError(f"{path}: is no TOML: {error}") from None
    try:
        return read_document(document)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    except (AttributeError, TypeError):
        raise SettingsError(
            f"{path}: write [grid] with lists of values, and [[candidate]] with a name and settings"
        ) from None


def read_document(document: Mapping[str, Any], services: str | None = None) -> list[Change]:
    """Read candidates from what such a file holds; services: a pattern of those the grid is for.

    Raises SettingsError; AttributeError or TypeError where a table or a list is something else.
    """
    _known_keys(document, {"grid", "candidate"})
    grid: dict[str, list[str]] = {}
    for key, values in document.get("grid", {}).items():
        name = _in_full(key)
        if name in grid:
            raise SettingsError(f"{name}: given twice")
        grid[name] = _texts(key, values)
    changes = grid_of(grid, services)
    return changes + [_named(table) for table in document.get("candidate", [])]


def _change(row: tuple[tuple[str, str], ...], services: str | None, suffix: str) -> Change:
    changes = read_changes(f"{name}={value}" for name, value in row)
    name = " ".join(f"{_NAMES.get(setting, setting)}={value}" for setting, value in row)
    return Change(name + suffix, ((services, changes),))


def _named(table: dict[str, Any]) -> Change:
    _known_keys(table, {"name", "settings", "overrides"})
    name = table.get("name")
    if not isinstance(name, str) or not (1 <= len(name) <= 100 and name.isprintable()):
        raise SettingsError("candidate: give each a name of 1 to 100 printable characters")
    changes: list[tuple[str | None, dict[str, Raw]]] = [(None, _values(table.get("settings", {})))]
    for override in table.get("overrides", []):
        _known_keys(override, {"services", "settings"})
        services = override.get("services")
        if not isinstance(services, str):
            raise SettingsError("overrides: give each a pattern, as services = 'batch-*'")
        changes.append((services, _values(override.get("settings", {}))))
    return Change(name, tuple(changes))


def _values(table: dict[str, Any]) -> dict[str, Raw]:
    return read_changes(f"{_in_full(name)}={_text(value)}" for name, value in table.items())


def _in_full(name: str) -> str:
    """Return a setting's full name. Raises SettingsError where a short one is nearest to it."""
    near = [] if name in names() else get_close_matches(name, [*SHORT, *names()], n=1)
    if near and near[0] in SHORT and name not in SHORT:
        raise SettingsError(f"{quoted(name)}: no such setting, did you mean {near[0]}?")
    return SHORT.get(name, name)


def _texts(name: str, values: object) -> list[str]:
    if not isinstance(values, list):
        raise SettingsError(f"{name}: give a list of values, as [3, 5, 10]")
    return [_text(value) for value in values]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _known_keys(table: Mapping[str, object], known: set[str]) -> None:
    for key in table.keys() - known:
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(known))}"
        raise SettingsError(f"{key}: not known, {hint}")


def _changed(base: Candidate, change: Change) -> tuple[SettingsVersion, ...]:
    versions = []
    for version in base.versions:
        document = version.document
        for services, changes in change.changes:
            document = document.with_change(services, changes)
        changed = SettingsVersion(version.version, version.effective_from_ms, document)
        try:
            changed.check()
        except SettingsError as error:
            raise SettingsError(f"{change.name}: {error}") from None
        versions.append(changed)
    return tuple(versions)
