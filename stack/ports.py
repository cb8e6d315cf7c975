"""TCP ports of this machine, most of them on loopback."""

import errno
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from stack.errors import StackError

LOOPBACK = "127.0.0.1"
LOOPBACKS = frozenset({LOOPBACK, "::1", "localhost"})
_REACHED = {str(IPv4Address(0)): LOOPBACK, str(IPv6Address(0)): "::1"}
"""Where a server is reached that listens on every address."""


class Wanted(NamedTuple):
    """A port that a server is to listen on, and the variable that names another."""

    port: int
    server: str
    variable: str
    host: str = LOOPBACK


@dataclass(frozen=True)
class Ports:
    """Where to listen; None leaves the choice to the machine. All but the API is on loopback."""

    database: int | None = None
    broker: int | None = None
    api: int | None = None
    api_host: str = LOOPBACK

    @classmethod
    def fixed(cls, environ: Mapping[str, str]) -> "Ports":
        """Return the ports that people expect, or those that the environment names."""

        def port(variable: str, default: int) -> int:
            text = environ.get(variable) or str(default)
            if not text.isdecimal() or not 0 < int(text) < 65536:
                raise StackError(f"{variable}={text}: a port is a number from 1 to 65535")
            return int(text)

        return cls(
            database=port("STACK_DATABASE_PORT", 5432),
            broker=port("STACK_BROKER_PORT", 9092),
            api=port("TOCSIN_API_PORT", 8000),
            api_host=environ.get("TOCSIN_API_HOST") or LOOPBACK,
        )


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on this port now; raises StackError where none ever could."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise StackError(
                f"cannot listen on {host}, port {port} ({error.strerror}): choose another"
            ) from None
    return True


def http_url(host: str, port: int) -> str:
    """Return where this machine reaches a server that listens on the host, a name or address."""
    reached = _REACHED.get(host, host)
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"


def free_port() -> int:
    """Choose a free port below the kernel's ephemeral range.

    Outgoing connections never take such a port, so a server can be stopped and started on it.
    It is given to nobody else as long as this process lives.
    """
    for port in random.sample(range(20_000, 32_000), 200):
        if is_free(port) and _reserve(port):
            return port
    raise StackError("no free port between 20000 and 32000 on loopback")


def _reserve(port: int) -> bool:
    """Take the UDP port of this number, which no server needs, as a mark that others see."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mark:
        try:
            mark.bind((LOOPBACK, port))
        except OSError:
            return False
        mark.detach()  # it stays open, and the kernel closes it
    return True


def require_free(*wanted: Wanted) -> None:
    """Raise StackError with one line on all ports that are taken."""
    taken = [each for each in wanted if not is_free(each.port, each.host)]
    if taken:
        said = "; ".join(f"port {each.port} for {each.server} is in use" for each in taken)
        listening = " or ".join(f"sport = :{each.port}" for each in taken)
        choice = " ".join(f"{each.variable}=PORT" for each in taken)
        raise StackError(
            f"{said}: stop what listens there (`ss -ltnp '{listening}'` names it)"
            f" or choose another with {choice}"
        )
