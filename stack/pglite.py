"""TimescaleDB's Community edition as PGlite: one connection at a time, in memory, for tests."""

from pathlib import Path
from typing import Literal

import psycopg

from stack import pglite_packages
from stack.errors import StackError
from stack.ports import LOOPBACK, free_port
from stack.processes import Process, end_with_starter
from stack.waiting import wait_until

Kind = Literal["timescaledb", "plain"]


class PGlite:
    """One server with one database. It can neither COPY nor pipeline: both end it.

    kind: plain has no TimescaleDB to offer. log: the file that it writes to.
    """

    def __init__(self, log: Path, *, kind: Kind = "timescaledb") -> None:
        self._log = log
        self._kind = kind
        self._port = free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """The URL of its database."""
        return f"postgresql://postgres:password@{LOOPBACK}:{self._port}/postgres?sslmode=disable"

    @property
    def process(self) -> Process:
        """The server's process."""
        if self._process is None:
            raise StackError("PGlite was not started")
        return self._process

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises StackError: no Node.js, no packages, or the server's last words.
        """
        folder = pglite_packages.fetch()
        argv = ["node", str(folder / "serve.mjs"), str(self._port), self._kind]
        self._process = Process("PGlite", end_with_starter(argv, "KILL"), log=self._log)
        wait_until(self._answers, "PGlite answers", deadline_s=240, every_s=0.2)

    def stop(self) -> None:
        """End the server; nothing is left of its data."""
        if self._process:
            self._process.kill()

    def _answers(self) -> bool:
        self.process.require_running()
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
