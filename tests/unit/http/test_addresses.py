"""Where a request comes from: the peer, unless a trusted proxy says otherwise."""

import pytest
from sanic import Request, Sanic
from sanic.compat import Header

from api.addresses import Addresses
from tocsin.errors import SettingsError
from tocsin.settings import Settings


class From(Request):
    """A request of a peer."""

    __slots__ = ("peer",)

    peer: str

    @property
    def ip(self) -> str:
        """The peer's address."""
        return self.peer


def request(peer: str, *forwarded: str) -> Request:
    app = Sanic("places") if "places" not in Sanic._app_registry else Sanic.get_app("places")
    headers = Header([("x-forwarded-for", value) for value in forwarded])
    made = From(b"/", headers, "1.1", "GET", None, app)  # type: ignore[arg-type]
    made.peer = peer
    return made


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "found"),
    [
        ("", "10.0.0.1", ["203.0.113.7"], "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", ["203.0.113.7"], "10.0.0.2"),
        ("10.0.0.1", "10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("10.0.0.0/8", "10.0.0.1", ["198.51.100.1, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ("10.0.0.0/8", "10.0.0.1", ["10.1.1.1, 10.9.9.9"], "10.1.1.1"),
        ("10.0.0.1", "10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", "::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", "10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", ["203.0.113.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", [",".join(["x"] * 10_000)], "10.0.0.1"),
        ("fd00::/8, 10.0.0.1", "fd00::1", ["203.0.113.7"], "203.0.113.7"),
    ],
)
def test_only_a_trusted_proxy_says_where_a_request_comes_from(
    trusted: str, peer: str, forwarded: list[str], found: str
) -> None:
    addresses = Addresses(Settings(trusted_proxies=trusted))
    assert addresses.of(request(peer, *forwarded)) == found


@pytest.mark.parametrize("trusted", ["everybody", "10.0.0.1/8", "10.0.0.1;10.0.0.2"])
def test_what_is_no_network_is_refused(trusted: str) -> None:
    with pytest.raises(SettingsError, match="TOCSIN_TRUSTED_PROXIES"):
        Addresses(Settings(trusted_proxies=trusted))


def test_addresses_of_one_customer_are_limited_as_one() -> None:
    addresses = Addresses(Settings())
    sites = {addresses.site(request(f"2001:db8:1:2::{number}")) for number in range(1, 9)}
    assert sites == {"2001:db8:1:2::/64"}
    assert addresses.site(request("2001:db8:1:3::1")) not in sites
    assert addresses.site(request("203.0.113.7")) == "203.0.113.7"
