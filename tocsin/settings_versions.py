"""The versions of the detection settings: which numbers judge which window of which service."""

from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tocsin.detection import WINDOW_MS, DetectionSettings, SettingsTimeline
from tocsin.errors import NotFound, SettingsError
from tocsin.patterns import covers
from tocsin.records import EPOCH

LEAD_MS = 10 * 60_000
"""A version starts at least this long after it is made, so that every worker knows it by then.

As long before its start at the least it is withdrawn, so that no worker relies on it by then.
"""

FIXED = frozenset(
    {
        "version",
        "effective_from_ms",
        "idle_ms",
        "idle_margin_ms",
        "kept_windows",
        "retirement_windows",
    }
)
"""What no document may change: a version's own place, and what a service's clock runs on."""


class Override(Struct, frozen=True, forbid_unknown_fields=True):
    """What differs for the services whose id matches a pattern, as `batch-*`."""

    services: str
    settings: dict[str, Raw]


class SettingsDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """What a version changes: of the defaults for all services, and for some of them.

    overrides: the first whose pattern matches a service is taken, and none after it.
    """

    settings: dict[str, Raw] = {}
    overrides: list[Override] = []

    def override_of(self, service_id: str) -> int | None:
        """Return the index of the override that a service takes, if it takes one."""
        matching = (fnmatchcase(service_id, override.services) for override in self.overrides)
        return next((index for index, matches in enumerate(matching) if matches), None)

    def overriding(self, pattern: str) -> int | None:
        """Return the index of the override that all services like a pattern take, if one is."""
        covering = (covers(override.services, pattern) for override in self.overrides)
        return next((index for index, covered in enumerate(covering) if covered), None)

    def shadows(self) -> list[tuple[str, str]]:
        """Return each pattern that no service takes, with the one before it that takes them."""
        firsts = (
            (override.services, self.overrides[self.overriding(override.services) or 0].services)
            for override in self.overrides
        )
        return [(pattern, first) for pattern, first in firsts if first != pattern]

    def with_change(self, services: str | None, changes: dict[str, Raw]) -> "SettingsDocument":
        """Return the document with some settings changed, for all services or for a pattern.

        A pattern that is new comes last.
        """
        if services is None:
            return SettingsDocument({**self.settings, **changes}, self.overrides)
        known = {override.services: override.settings for override in self.overrides}
        known[services] = {**known.get(services, {}), **changes}
        overrides = [Override(pattern, settings) for pattern, settings in known.items()]
        return SettingsDocument(self.settings, overrides)

    def without(self, services: str) -> "SettingsDocument":
        """Return the document without a pattern and its numbers. Raises NotFound."""
        place = self.place_of(services)
        return SettingsDocument(
            self.settings, [*self.overrides[:place], *self.overrides[place + 1 :]]
        )

    def moved(self, services: str, before: str | None) -> "SettingsDocument":
        """Return the document with a pattern right before another one, or last. Raises NotFound."""
        own = self.overrides[self.place_of(services)]
        if before == services:
            return self
        others = self.without(services)
        place = len(others.overrides) if before is None else others.place_of(before)
        overrides = [*others.overrides[:place], own, *others.overrides[place:]]
        return SettingsDocument(self.settings, overrides)

    def place_of(self, services: str) -> int:
        """Return the index of the override with a pattern. Raises NotFound."""
        for place, override in enumerate(self.overrides):
            if override.services == services:
                return place
        raise NotFound(
            f"no services like {services} have numbers of their own, `tocsin detection show` lists"
            " the patterns"
        )


class SettingsVersion(Struct, frozen=True):
    """A document with its number and the start of the first window that it judges."""

    version: int
    effective_from_ms: int
    document: SettingsDocument

    def settings_for(self, service_id: str) -> DetectionSettings:
        """Return the numbers that judge a service."""
        changes = dict(self.document.settings)
        index = self.document.override_of(service_id)
        if index is not None:
            changes |= self.document.overrides[index].settings
        return self._settings(changes)

    def settings_of_pattern(self, services: str | None) -> DetectionSettings:
        """Return the numbers that judge all services like this; None: those that have no override.

        An override that comes before it and matches all of them counts, not its own.
        """
        changes = dict(self.document.settings)
        index = None if services is None else self.document.overriding(services)
        if index is not None:
            changes |= self.document.overrides[index].settings
        return self._settings(changes)

    def check_numbers(self) -> None:
        """Raise SettingsError, naming the setting, unless every service could be judged by it."""
        self._settings(self.document.settings)
        for override in self.document.overrides:
            self._settings({**self.document.settings, **override.settings})

    def check(self) -> None:
        """Raise SettingsError also for patterns that no service would be judged by."""
        for override in self.document.overrides:
            if not 1 <= len(override.services) <= 128 or not override.services.isprintable():
                raise SettingsError(
                    "services: give a pattern of 1 to 128 printable characters, as `batch-*`"
                )
        self.check_numbers()
        patterns = [override.services for override in self.document.overrides]
        if len(set(patterns)) < len(patterns):
            raise SettingsError(
                "services: a pattern is given twice, and only its first would count"
            )

    def _settings(self, changes: dict[str, Raw]) -> DetectionSettings:
        fixed = FIXED & changes.keys()
        if fixed:
            raise SettingsError(
                f"{min(fixed)}: cannot be changed, every window's clock rests on it"
            )
        place: dict[str, Any] = {
            "version": self.version,
            "effective_from_ms": self.effective_from_ms,
        }
        try:
            # Through JSON text: a decimal is read as it was written, never as a binary float.
            return msgspec.json.decode(
                msgspec.json.encode({**changes, **place}), type=DetectionSettings
            )
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$.")
            name = f"{where.rstrip('`')}: " if where else ""
            raise SettingsError(f"{name}{what[0].lower()}{what[1:]}") from None


class SettingsBook:
    """All versions but those withdrawn, oldest first, as of one reading of the database.

    read_ms: when they were read, by the database's clock; which versions start up to LEAD_MS later
        can't change any more.
    """

    def __init__(self, versions: tuple[SettingsVersion, ...], read_ms: int) -> None:
        self.versions = versions
        self.read_ms = read_ms
        self._timelines: dict[tuple[int | None, ...], SettingsTimeline] = {}

    @classmethod
    def of_defaults(cls) -> "SettingsBook":
        """Return the book of the defaults alone, for all times."""
        return cls((SettingsVersion(1, 0, SettingsDocument()),), read_ms=2**62)

    @property
    def newest(self) -> int:
        """Number of the newest version."""
        return self.versions[-1].version

    def timeline(self, service_id: str) -> SettingsTimeline:
        """Return which settings judge which window of a service; equal ones are one object."""
        key = tuple(version.document.override_of(service_id) for version in self.versions)
        timeline = self._timelines.get(key)
        if timeline is None:
            numbers = tuple(version.settings_for(service_id) for version in self.versions)
            timeline = self._timelines[key] = SettingsTimeline(numbers)
        return timeline


def next_window_start_ms(now_ms: int) -> int:
    """Return the first window start at which a version that is made now may begin."""
    return -(-(now_ms + LEAD_MS) // WINDOW_MS) * WINDOW_MS


def minute_of(start_ms: int) -> str:
    """Name a start by its minute in UTC.

    >>> minute_of(1_772_409_600_000)
    '2026-03-02 00:00'
    """
    return f"{EPOCH + timedelta(milliseconds=start_ms):%Y-%m-%d %H:%M}"
