"""Which of the processes of a flow one is."""

from msgspec import Struct

from tocsin.errors import SettingsError


class Cluster(Struct, frozen=True):
    """Which process of the flow this one is.

    workers: its threads. addresses: host:port of every process, in order; none where it is alone.
    """

    workers: int = 1
    process: int = 0
    addresses: tuple[str, ...] = ()

    @property
    def is_alone(self) -> bool:
        """Whether the flow is this process."""
        return len(self.addresses) < 2


def cluster_of(workers: int, process: int, addresses: str) -> Cluster:
    """Return the cluster that was asked for; raise SettingsError if there is no such process."""
    places = tuple(place.strip() for place in addresses.split(",") if place.strip())
    for place in places:
        host, _, port = place.rpartition(":")
        if not host or not port.isdecimal():
            raise SettingsError(f"--addresses: {place} is not host:port")
    if len(set(places)) < len(places):
        raise SettingsError("--addresses: every process needs an address of its own")
    if process >= max(len(places), 1):
        raise SettingsError(
            f"--process: {process}, but --addresses names {len(places)}; they count from 0 on"
        )
    return Cluster(workers, process, places)
