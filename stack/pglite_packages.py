"""PGlite's packages, copied from the npm registry once per machine."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from stack.cache import Say, cache_folder, locked, run_whole, silent
from stack.errors import StackError

SOURCE = Path(__file__).with_name("pglite")
OLDEST_NODE = 20

FETCHING = "fetching PGlite, once on this machine"


def folder() -> Path:
    """Where the packages are, or will be, beside the program that serves them."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _files())).hexdigest()
    return cache_folder() / f"pglite-{digest[:8]}"


def fetch(say: Say = silent) -> Path:
    """Return the folder with the packages, copying them first if this machine has none.

    Raises StackError without a Node.js that can run them, without npm, or without its registry.
    """
    _require_node()
    found = folder()
    if not found.exists():
        with locked("pglite"):
            if not found.exists():
                _require_npm()
                say(FETCHING)
                _copy_aside(found)
    return found


def _files() -> list[Path]:
    return sorted(path for path in SOURCE.iterdir() if path.is_file())


def _copy_aside(found: Path) -> None:
    """Copy to a folder beside, then rename, so that half of the packages never have the name."""
    aside = found.with_name(f"{found.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in _files():
        shutil.copy(path, aside)
    words = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    try:
        run_whole(
            ["npm", "ci", f"--prefix={aside}", *words],
            "installing PGlite by npm",
            complaint="npm error",
            advice="is the npm registry reachable?",
        )
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    aside.rename(found)


def _require_node() -> None:
    if not shutil.which("node"):
        raise _lacking("node is missing")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", said)
    if found is None or int(found[1]) < OLDEST_NODE:
        raise _lacking(f"node is version {said.strip() or 'unknown'}")


def _require_npm() -> None:
    if not shutil.which("npm"):
        raise _lacking("npm is missing")


def _lacking(what: str) -> StackError:
    return StackError(
        f"TimescaleDB Community as PGlite needs Node.js {OLDEST_NODE} or newer and npm, but {what}"
    )
