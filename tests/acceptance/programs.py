"""Programs not written by us, run from the Debian 13 root: rsyslogd, logger, kcat, curl, jq."""

import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack import debian, folders
from stack.commands import CHECKOUT
from stack.ports import LOOPBACK
from stack.processes import Process, end_with_starter
from stack.waiting import wait_until

PACKAGES = ("rsyslog", "rsyslog-kafka", "rsyslog-elasticsearch", "kcat", "curl", "jq")
TEMPLATES = CHECKOUT / "docs/rsyslog"

# What stands in our templates for a user to set.
BROKER = "127.0.0.1:9092"
SPOOL = "/var/spool/rsyslog"
API_PORT = 'serverport="8000"'
API_KEY = "INGEST_KEY"
JSONLOG = "/var/lib/postgresql/*/main/log/*.json"
JSONLOG_SERVICE = 'set $.service_id = "postgresql"'

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}

# What Debian's /etc/rsyslog.conf does, on a socket, a port and a file of its own.
_MAIN = """
global(workDirectory="{inside}")
module(load="imuxsock" sysSock.use="off")
input(type="imuxsock" socket="{inside}/log.sock")
module(load="imudp")
input(type="imudp" address="{host}" port="{port}")
action(type="omfile" file="{inside}/taken.log")
include(file="{inside}/conf.d/*.conf")
"""


@dataclass(frozen=True)
class Folder:
    """A folder in the root, and the means to run the root's programs.

    outside: as this machine sees it. inside: as the programs do.
    """

    outside: Path
    inside: str

    def run(
        self, *argv: str | bytes, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> str:
        """Run a program to its end and return what it printed; it must succeed."""
        done = subprocess.run(
            ["chroot", str(debian.root_folder()), *argv],
            input=stdin,
            env={**_ENVIRONMENT, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
            check=False,
        )
        told = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"{argv}: {told}"
        return told


@contextmanager
def folder() -> Iterator[Folder]:
    """Make a folder that is gone at the end, or else when the next run sweeps up."""
    debian.install(*PACKAGES)
    name = f"test-{secrets.token_hex(6)}"
    lock = folders.try_lock(name)
    assert lock is not None
    with lock:
        outside = folders.folder(name)
        outside.mkdir()
        yield Folder(outside, f"{folders.HOME}/{name}")
    folders.remove(name)


class Rsyslog:
    """An rsyslogd with its own configuration, socket, port, pid file and work directory.

    replacements: what a user sets in the templates, old text to new; each must occur.
    """

    def __init__(self, folder: Folder, *templates: str, replacements: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = _free_udp_port()
        self._process: Process | None = None
        texts = {name: (TEMPLATES / name).read_text() for name in templates}
        for old, new in replacements.items():
            assert any(old in text for text in texts.values()), f"no template has {old}"
            texts = {name: text.replace(old, new) for name, text in texts.items()}
        included = folder.outside / "conf.d"
        included.mkdir()
        for number, (name, text) in enumerate(texts.items()):
            (included / f"{number}-{name}").write_text(text)
        main = _MAIN.format(inside=folder.inside, host=LOOPBACK, port=self.port)
        (folder.outside / "rsyslog.conf").write_text(main)

    @property
    def socket(self) -> str:
        """The socket that stands for /dev/log, as `logger` sees it."""
        return f"{self.folder.inside}/log.sock"

    def check(self) -> str:
        """Return what rsyslogd says of its configuration."""
        return self.folder.run(*self._argv, "-N1")

    def start(self) -> Process:
        """Start and return the process once it takes messages."""
        # One that was left by the last run would look like this one's.
        (self.folder.outside / "log.sock").unlink(missing_ok=True)
        argv = end_with_starter(["chroot", str(debian.root_folder()), *self._argv], "TERM")
        log = self.folder.outside / "rsyslogd.log"
        process = self._process = Process("rsyslogd", argv, log=log, env=_ENVIRONMENT)

        def listens() -> bool:
            process.require_running()
            return (self.folder.outside / "log.sock").exists() and _listens_udp(self.port)

        wait_until(listens, "rsyslogd listens", deadline_s=60)
        return process

    def stop(self) -> None:
        """Stop if it runs."""
        if self._process:
            self._process.stop()

    def log(self, message: str | bytes, *options: str, tag: str) -> None:
        """Log by `logger` to the local socket, or wherever its options say."""
        where = options if "--server" in options else ("--socket", self.socket, *options)
        self.folder.run("logger", *where, "--tag", tag, "--", message)

    def log_lines(self, lines: list[str], *, tag: str) -> None:
        """Log many lines by one `logger` and wait until rsyslogd has taken them all."""
        due = self._taken(tag) + len(lines)
        text = "".join(f"{line}\n" for line in lines)
        self.folder.run("logger", "--socket", self.socket, "--tag", tag, stdin=text.encode())
        wait_until(lambda: self._taken(tag) == due, "rsyslogd takes all lines", deadline_s=60)

    def _taken(self, tag: str) -> int:
        log = self.folder.outside / "taken.log"
        return log.read_text(errors="replace").count(f" {tag}: ") if log.exists() else 0

    @property
    def udp(self) -> tuple[str, ...]:
        """The options of `logger` that make it send by UDP."""
        return ("--udp", "--server", LOOPBACK, "--port", str(self.port))

    @property
    def _argv(self) -> tuple[str, ...]:
        inside = self.folder.inside
        return (
            "/usr/sbin/rsyslogd",
            "-n",
            *("-f", f"{inside}/rsyslog.conf"),
            *("-i", f"{inside}/rsyslogd.pid"),
        )


def _free_udp_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens_udp(port: int) -> bool:
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(int(line.split()[1].partition(":")[2], 16) == port for line in lines)
