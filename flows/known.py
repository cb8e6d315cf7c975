"""What a flow knows of the services at its start, when its recovery store knows nothing.

The rows of a service hold its detector's whole state as of the last record that they count. So
the topic is read from where every row of it is surely stored, and what a row counts already is
left out, service by service.
"""

from collections.abc import Iterable
from typing import Final, cast

import msgspec
import psycopg
from msgspec import Struct

from flows import stored
from flows.detector import Detector
from flows.snapshot import DetectorSnapshot
from sql.services import StoredService, read_services
from tocsin.detection import SettingsTimeline
from tocsin.errors import RecoveryDamaged
from tocsin.settings_versions import SettingsBook


class Place(Struct, frozen=True, array_like=True):
    """Where a service's last record was read.

    strays: its records have come from more than one partition of this incarnation of the topic.
    """

    incarnation: int
    partition: int
    offset: int
    strays: bool = False


class ServiceState(Struct, frozen=True, array_like=True):
    """What recovery keeps of a service: its detector, and where its last record was read."""

    place: Place
    detector: DetectorSnapshot

    def packed(self) -> bytes:
        """Return the state as few bytes: those of all services are in memory at once."""
        return _ENCODER.encode(self)

    @staticmethod
    def unpacked(packed: object) -> "ServiceState":
        """Return the state that was packed. Raises RecoveryDamaged for what is none."""
        try:
            return _DECODER.decode(cast("bytes", packed))
        except (TypeError, UnicodeDecodeError, msgspec.DecodeError):
            raise RecoveryDamaged(
                "the recovery store does not hold states as this version of Tocsin keeps them"
            ) from None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ServiceState)


class KnownService(Struct, frozen=True):
    """A service as its rows tell it. arrival_ms: of its last record."""

    state: ServiceState
    arrival_ms: int

    @property
    def service_id(self) -> str:
        """Its name."""
        return self.state.detector.service_id

    @property
    def place(self) -> Place:
        """Where its last record was read."""
        return self.state.place


class Known:
    """The services of which rows are stored; none where the recovery store knows them."""

    def __init__(self, services: Iterable[KnownService] = (), partitions: Iterable[int] = ()):
        self._services = {service.service_id: service for service in services}
        self._partitions = sorted(partitions)

    def __len__(self) -> int:
        return len(self._services)

    def of_partition(self, partition: int) -> list[KnownService]:
        """Return the services that were last read from a partition, the most silent first.

        Those of a partition that the topic no longer has belong to its first one.
        """
        first = self._partitions[:1] == [partition]
        return sorted(
            (
                service
                for service in self._services.values()
                if service.place.partition == partition
                or (first and service.place.partition not in self._partitions)
            ),
            key=lambda service: service.arrival_ms,
        )

    def state_of(self, service_id: str) -> ServiceState | None:
        """Return the state of a service, if it is known."""
        service = self._services.get(service_id)
        return None if service is None else service.state


NOTHING_KNOWN: Final = Known()


def read_known(conn: psycopg.Connection, partitions: Iterable[int], book: SettingsBook) -> Known:
    """Rebuild the detector of every service from its rows."""
    services = read_services(conn, windows=history_windows(book))
    return Known((_known(service, book) for service in services), partitions)


def history_windows(book: SettingsBook) -> int:
    """Return how many windows the detector of any service may want to be rebuilt from."""
    return max(
        SettingsTimeline((version.settings_of_pattern(pattern),)).history_windows
        for version in book.versions
        for pattern in [None, *(override.services for override in version.document.overrides)]
    )


def _known(service: StoredService, book: SettingsBook) -> KnownService:
    present = service.present
    incident, silence = service.last_incident, service.last_silence
    detector = Detector.rebuild(
        stored.window_row(present),
        map(stored.window_row, service.windows),
        None if incident is None else stored.incident_row(incident),
        None if silence is None else stored.incident_row(silence),
        book.timeline(present.service_id),
    )
    strays = present.read_offset != present.offset
    place = Place(present.incarnation, present.partition, present.read_offset, strays)
    return KnownService(ServiceState(place, detector.snapshot()), present.arrival_ms)
