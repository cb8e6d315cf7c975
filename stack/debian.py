"""The Debian 13 root with PostgreSQL 17 and TimescaleDB, laid out once per machine.

Debian 12 has neither package, and Debian 13's need a newer C library: hence a root of its own.
"""

import os
import shutil
import subprocess
from pathlib import Path

from stack.cache import Say, cache_folder, locked, run_whole, silent
from stack.errors import StackError

SUITE = "trixie"
PACKAGE = "postgresql-17-timescaledb"
BIN = "/usr/lib/postgresql/17/bin"
# Another package manager may have the lock for a while.
PATIENTLY = ("-o", "DPkg::Lock::Timeout=300")

LAYING_OUT = "laying out Debian 13, once on this machine"


def root_folder() -> Path:
    """Where the root is, or will be."""
    return cache_folder() / f"{SUITE}-{PACKAGE}"


def is_complete(root: Path) -> bool:
    """Whether the root was laid out to its end and still has its server."""
    return (root / "etc/tocsin-complete").exists() and (root / BIN[1:] / "postgres").exists()


def lay_out(say: Say = silent) -> Path:
    """Return the root, laying it out first if this machine has none.

    Raises StackError without root rights, apt-get, or the package archive.
    """
    root = root_folder()
    require_root()
    if is_complete(root):
        return root
    with locked("debian"):
        if not is_complete(root):
            require_mmdebstrap(say)
            _lay_out_aside(root, say)
    return root


def install(*packages: str, say: Say = silent) -> Path:
    """Return the root once it has these packages too: programs that tests run by chroot.

    Raises StackError like `lay_out`.
    """
    root = lay_out(say)
    with locked("debian"):
        missing = [package for package in packages if package_version(package) is None]
        if missing:
            say(f"installing {', '.join(missing)} in the Debian 13 root")
            apt_get = ["chroot", str(root), "apt-get", *PATIENTLY, "-qqy"]
            _run([*apt_get, "update"], "apt-get update", say)
            _run([*apt_get, "--no-install-recommends", "install", *missing], "apt-get install", say)
    return root


def require_root(*ways_out: str) -> None:
    """Raise StackError unless this process may chroot.

    ways_out: what the caller's reader may do instead of being root.
    """
    if os.geteuid() != 0:
        advice = ", or ".join(("run as root", *ways_out, "use `docker compose up`"))
        raise StackError(
            "TimescaleDB as a local process needs root (it runs in a Debian 13 root by chroot):"
            f" {advice}"
        )


def require_mmdebstrap(say: Say) -> None:
    """Install mmdebstrap if it is missing."""
    if shutil.which("mmdebstrap"):
        return
    if not shutil.which("apt-get"):
        raise StackError(
            "mmdebstrap is missing and there is no apt-get to install it:"
            " use a Debian machine, or `docker compose up`"
        )
    say("installing mmdebstrap")
    _run(["apt-get", "update", "-qq"], "apt-get update", say)
    packages = ["mmdebstrap", "debian-archive-keyring"]
    _run(["apt-get", *PATIENTLY, "install", "-qqy", *packages], "apt-get install mmdebstrap", say)


def _lay_out_aside(root: Path, say: Say) -> None:
    """Lay out in a folder beside, then rename, so that a half-made root never has the name.

    A root that has lost its server hands its folders, databases among them, to the new one.
    """
    aside, scratch = root.with_name(f"{root.name}.partial"), root.with_name(f"{root.name}.tmp")
    for left in (aside, scratch):
        shutil.rmtree(left, ignore_errors=True)
    scratch.mkdir()
    say(LAYING_OUT)
    try:
        _run(
            [
                *_own_mounts(),
                "mmdebstrap",
                "--quiet",
                "--variant=apt",
                f"--include={PACKAGE}",
                "--dpkgopt=force-unsafe-io",
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                SUITE,
                str(aside),
            ],
            f"mmdebstrap {SUITE}",
            say,
            TMPDIR=str(scratch),
        )
        # No package may start a daemon of its own in here.
        no_daemons = aside / "usr/sbin/policy-rc.d"
        no_daemons.write_text("#!/bin/sh\nexit 101\n")
        no_daemons.chmod(0o755)
        folders = "var/lib/tocsin"
        if (root / folders).exists():
            (root / folders).rename(aside / folders)
        else:
            (aside / folders).mkdir(mode=0o755)
        (aside / "etc/tocsin-complete").touch()
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
    aside.rename(root)


def _own_mounts() -> list[str]:
    """Return the words before a command whose mounts go with it, however it ends.

    None where they are forbidden: there mmdebstrap can't mount either.
    """
    words = ["unshare", "--mount", "--"]
    try:
        allowed = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return []
    return words if allowed else []


def _run(argv: list[str], what: str, say: Say, **environment: str) -> None:
    run_whole(
        argv,
        what,
        complaint="E:",
        advice="is the Debian archive reachable?",
        say=say,
        DEBIAN_FRONTEND="noninteractive",
        **environment,
    )


def package_version(package: str) -> str | None:
    """Return the version of a package of the root, or None when the root isn't there."""
    try:
        status = (root_folder() / "var/lib/dpkg/status").read_text()
    except OSError:  # not there, or in a folder that is not ours to read
        return None
    for paragraph in status.split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0] == f"Package: {package}":
            versions = [line for line in lines if line.startswith("Version: ")]
            return versions[0].removeprefix("Version: ")
    return None
