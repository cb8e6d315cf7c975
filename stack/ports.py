"""TCP ports on loopback."""

import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from stack.errors import StackError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Where to listen on loopback; None leaves the choice to the machine."""

    database: int | None = None
    broker: int | None = None
    api: int | None = None

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
        )


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Choose a free port below the kernel's ephemeral range.

    Outgoing connections never take such a port, so a server can be stopped and started on it.
    """
    for port in random.sample(range(20_000, 32_000), 200):
        if is_free(port):
            return port
    raise StackError("no free port between 20000 and 32000 on loopback")


def require_free(*wanted: tuple[int, str, str]) -> None:
    """Raise StackError with one line on all ports that are taken.

    wanted: of each the port, the server that wants it, and the variable that names another.
    """
    taken = [each for each in wanted if not is_free(each[0])]
    if taken:
        said = "; ".join(f"port {port} for {server} is in use" for port, server, _ in taken)
        listening = " or ".join(f"sport = :{port}" for port, _, _ in taken)
        choice = " ".join(f"{variable}=PORT" for _, _, variable in taken)
        raise StackError(
            f"{said}: stop what listens there (`ss -ltnp '{listening}'` names it)"
            f" or choose another with {choice}"
        )
