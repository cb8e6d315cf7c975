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
