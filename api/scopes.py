"""Whose records an ingest key may send."""

import re
from collections.abc import Collection, Iterator, Sequence
from fnmatch import translate
from itertools import count

from api.publisher import Keyed
from tocsin.errors import SettingsError
from tocsin.records import Refused

SERVICES_MAX = 100
_CHARACTERS_MAX = 128


class Scope:
    """The services of a key: ids, or patterns as `batch-*`, as for the detection's settings."""

    __slots__ = ("_matches", "services")

    def __init__(self, services: Sequence[str]) -> None:
        self.services = tuple(services)
        # One expression for all of them; fnmatch's own cache is shared and small.
        self._matches = re.compile("|".join(translate(pattern) for pattern in services)).match

    def require(self, service_id: str) -> None:
        """Raise Refused for a record of a service that is not in it."""
        if not self._matches(service_id):
            raise Refused(
                f"service_id: the ingest key may send logs of {', '.join(self.services[:5])}"
                f"{' and others' if len(self.services) > 5 else ''}, not of this service"
            )

    def part(
        self, taken: Sequence[Keyed], gone: Collection[int]
    ) -> tuple[list[Keyed], list[tuple[int, str]]]:
        """Part the records of a request that were taken: what may be sent, and what not, and why.

        gone: the places in the request of the records that were refused before.
        """
        inside: list[Keyed] = []
        refused: list[tuple[int, str]] = []
        for place, keyed in zip(_places(set(gone)), taken, strict=False):
            try:
                self.require(keyed[0].decode())
            except Refused as reason:
                refused.append((place, str(reason)))
            else:
                inside.append(keyed)
        return inside, refused


def check_services(services: Sequence[str]) -> list[str]:
    """Return the patterns of a new key. Raises SettingsError for what can be none."""
    found = list(dict.fromkeys(services))
    if not 1 <= len(found) <= SERVICES_MAX:
        raise SettingsError(f"services: give 1 to {SERVICES_MAX}, or leave it out for all")
    for pattern in found:
        if not 1 <= len(pattern) <= _CHARACTERS_MAX or not pattern.isprintable():
            raise SettingsError(
                "services: give ids or patterns of 1 to 128 printable characters, as `batch-*`"
            )
    return found


def _places(gone: set[int]) -> Iterator[int]:
    return (place for place in count() if place not in gone)
