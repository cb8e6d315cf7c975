"""TCP ports on loopback."""

import random
import socket

from stack.errors import StackError

LOOPBACK = "127.0.0.1"


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


def require_free(port: int, server: str, variable: str) -> None:
    """Raise StackError with a line for the reader when the port is taken."""
    if not is_free(port):
        raise StackError(
            f"port {port} for {server} is in use: stop what listens there"
            f" (`ss -ltnp 'sport = :{port}'` names it) or choose another with {variable}=PORT"
        )
