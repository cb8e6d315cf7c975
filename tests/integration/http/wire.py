"""HTTP by the byte: what no client library would send, and what it would hide."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.integration.http.conftest import WAIT_S, Api


@contextmanager
def connected(api: Api) -> Iterator[socket.socket]:
    """Connect to an API."""
    address = (api.settings.api_host, api.settings.api_port)
    with socket.create_connection(address, WAIT_S) as connection:
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """Return everything until the server closes; one that was still being sent to resets."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            found += piece
    return bytes(found)


def exchange(api: Api, request: bytes) -> bytes:
    """Send bytes, and return the whole answer; end the sending when it begins.

    An end before it is a client that has gone: then there may be none.
    """
    with connected(api) as connection:
        connection.sendall(request)
        with suppress(OSError):
            connection.recv(1, socket.MSG_PEEK)
            connection.shutdown(socket.SHUT_WR)
        return rest_of(connection)
