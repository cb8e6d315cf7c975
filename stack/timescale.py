"""PostgreSQL 17 with TimescaleDB as a local process on loopback."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import psycopg

from stack import debian, folders
from stack.cache import Say, silent
from stack.debian import BIN
from stack.errors import StackError
from stack.ports import LOOPBACK, Wanted, free_port, require_free
from stack.processes import Process, end_with_starter
from stack.waiting import wait_until

DATABASE = "tocsin"
USER = "postgres"

DURABLE: Mapping[str, str] = {}
# Survives a killed server, whose writes the kernel has; not a power cut.
FAST: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    # A scheduler's connection to a template database would forbid cloning it.
    "timescaledb.max_background_workers": "0",
}
JSONLOG: Mapping[str, str] = {
    "logging_collector": "on",
    "log_destination": "stderr,jsonlog",
    "log_directory": "log",
    "log_filename": "postgresql.log",
}


class Timescale:
    """One server with a data directory of its own, known by its name.

    The name is locked from start to stop: two processes can't run one data directory.
    Start from a thread that lives as long as the server (`end_with_starter` says why).
    """

    def __init__(
        self,
        name: str,
        *,
        password: str,
        port: int | None = None,
        settings: Mapping[str, str] = DURABLE,
        say: Say = silent,
    ) -> None:
        self.name = name
        self.settings = settings
        self._password = password
        self._given_port = port
        self._port = port or free_port()
        self._say = say
        self._lock: IO[str] | None = None
        self._process: Process | None = None

    @property
    def folder(self) -> Path:
        """The server's folder as this machine sees it: data directory and log."""
        return folders.folder(self.name)

    @property
    def jsonlog(self) -> Path:
        """The server's structured log, written when the settings include JSONLOG."""
        return self.folder / "pgdata/log/postgresql.json"

    @property
    def port(self) -> int:
        """The port on loopback; it stays the same over a restart."""
        return self._port

    @property
    def process(self) -> Process:
        """The postmaster."""
        if self._process is None:
            raise StackError(f"TimescaleDB {self.name} was not started")
        return self._process

    @property
    def url(self) -> str:
        """The URL of the database made for Tocsin."""
        return self.database_url(DATABASE)

    def database_url(self, database: str) -> str:
        """Return the URL of any database of this server."""
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self._port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers; the first time, make its database.

        Raises StackError: no root rights, port in use, name in use, or the server's last words.
        """
        if self._process and self._process.exit_code() is None:
            return
        root = debian.lay_out(self._say)
        self._take_lock()
        try:
            self._clear_stale_server()
            if not (self.folder / "pgdata").exists():
                self._initdb(root)
            self._launch(root)
            self._create_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down, aborting open transactions; keep the data."""
        if self._process:
            self._process.stop()
        self._release_lock()

    def kill(self) -> None:
        """Kill the postmaster and its backends by SIGKILL; `start` recovers."""
        self.process.kill()

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        folders.remove(self.name)

    def _take_lock(self) -> None:
        if self._lock is None:
            self._lock = folders.try_lock(self.name)
        if self._lock is None:
            raise StackError(
                f"the database {self.name} is run by another process: `make down` stops it"
            )

    def _release_lock(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def _clear_stale_server(self) -> None:
        """End a server that outlived its starter; clear the pid file of one that did not.

        PostgreSQL itself takes a pid that now belongs to another server for its own.
        """
        pid_file = self.folder / "pgdata/postmaster.pid"
        if pid := folders.live_postmaster(self.folder / "pgdata"):
            folders.end_postmaster(pid)
        pid_file.unlink(missing_ok=True)

    def _initdb(self, root: Path) -> None:
        self._say("making a database cluster")
        self.folder.mkdir(exist_ok=True)
        shutil.rmtree(self.folder / "pgdata.partial", ignore_errors=True)
        owner = (root / "var/lib/postgresql").stat()
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        for path in (self.folder, password_file):
            os.chown(path, owner.st_uid, owner.st_gid)
        done = subprocess.run(
            [
                *_as_postgres(root, "initdb"),
                f"--pgdata={folders.HOME}/{self.name}/pgdata.partial",
                f"--username={USER}",
                "--auth=scram-sha-256",
                f"--pwfile={folders.HOME}/{self.name}/password",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        password_file.unlink()
        if done.returncode:
            raise StackError(f"initdb failed: {' / '.join(done.stderr.splitlines()[-2:])}")
        (self.folder / "pgdata.partial").rename(self.folder / "pgdata")

    def _launch(self, root: Path) -> None:
        require_free(Wanted(self._port, "TimescaleDB", "STACK_DATABASE_PORT"))
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self._port),
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",
            "shared_preload_libraries": "timescaledb",
            "timescaledb.telemetry_level": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        data_directory = f"{folders.HOME}/{self.name}/pgdata"
        # The dying starter's signal is set inside: a change of user would clear it.
        server = end_with_starter([f"{BIN}/postgres", "-D", data_directory, *options], "INT")
        self._process = Process(
            "TimescaleDB",
            ["chroot", "--userspec=postgres:postgres", str(root), *server],
            log=self.folder / "postgres.log",
            env=_environment(),
            stop_signal=signal.SIGINT,
        )
        wait_until(self._answers, "TimescaleDB answers", deadline_s=60)

    def _answers(self) -> bool:
        self.process.require_running()
        try:
            psycopg.connect(self.database_url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            exists = connection.execute(
                "select from pg_database where datname = %s", [DATABASE]
            ).fetchone()
            if exists is None:
                connection.execute(f"create database {DATABASE}")


def _as_postgres(root: Path, command: str) -> list[str]:
    return ["chroot", "--userspec=postgres:postgres", str(root), f"{BIN}/{command}"]


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
