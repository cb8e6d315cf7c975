"""Where a request comes from, also when proxies stand between."""

from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from sanic import Request

from tocsin.errors import SettingsError
from tocsin.settings import Settings

_SITE_BITS = 64
_HOPS_MAX = 50

Address = IPv4Address | IPv6Address


class Addresses:
    """Believes X-Forwarded-For from trusted proxies alone.

    Each proxy writes whom it took the request from at the end of the header. So it is read from
    there, as long as the address before was a trusted proxy's; what stands further on the left is
    the client's own invention. Raises SettingsError for what is no address or network.
    """

    def __init__(self, settings: Settings) -> None:
        self._trusted = _networks(settings.trusted_proxies)

    def of(self, request: Request) -> str:
        """Return the address that a request comes from."""
        peer = request.ip or ""
        if not self._trusted:
            return peer
        known = _address(peer)
        if known is None or not self._is_trusted(known):
            return peer
        given = ",".join(request.headers.getall("x-forwarded-for", []))
        for text in reversed(given.split(",")[-_HOPS_MAX:]):
            found = _address(text)
            if found is None:
                break
            known = found
            if not self._is_trusted(found):
                break
        return str(known)

    def site(self, request: Request) -> str:
        """Return what is limited as one address: of IPv6 the network that one customer gets."""
        return _site(self.of(request))

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingsError(
            "TOCSIN_TRUSTED_PROXIES: give addresses or networks, as `10.0.0.7,192.168.0.0/16`"
        ) from None


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    """Return the address that a text is, maybe with a port behind it."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


@lru_cache(maxsize=4096)
def _site(text: str) -> str:
    found = _address(text)
    if isinstance(found, IPv6Address):
        return str(ip_network((found.packed, _SITE_BITS), strict=False))
    return text if found is None else str(found)
