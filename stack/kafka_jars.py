"""Apache Kafka's jars, copied from Maven Central once per machine."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from stack.cache import Say, cache_folder, locked, run_whole, silent
from stack.errors import StackError

POM = Path(__file__).with_name("pom.xml")
OLDEST_JAVA = 17

FETCHING = "fetching Apache Kafka, once on this machine"


def version() -> str:
    """Return the version of Apache Kafka that the POM names."""
    found = re.search(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>(.+?)<", POM.read_text())
    if found is None:
        raise StackError(f"{POM} names no version of Apache Kafka")
    return found[1]


def jars_folder() -> Path:
    """Where the jars are, or will be: each POM has a folder of its own, for servers may use it."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()
    return cache_folder() / f"kafka-{version()}-{digest[:8]}"


def fetch(say: Say = silent) -> Path:
    """Return the folder with the jars, copying them first if this machine has none.

    Raises StackError without a Java that can run them, without Maven, or without Maven Central.
    """
    _require_java()
    folder = jars_folder()
    if not folder.exists():
        with locked("kafka"):
            if not folder.exists():
                _require_maven()
                say(FETCHING)
                _copy_aside(folder, say)
    return folder


def _copy_aside(folder: Path, say: Say) -> None:
    """Copy to a folder beside, then rename, so that half of the jars never have the name."""
    aside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    copy = ["mvn", "--batch-mode", "--quiet", "-Dstyle.color=never", f"--file={POM}"]
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={aside}"]
    try:
        run_whole(
            [*copy, *goal],
            "copying Apache Kafka by Maven",
            complaint="[ERROR]",
            advice="is Maven Central reachable?",
            say=say,
        )
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    aside.rename(folder)


def _require_java() -> None:
    if not shutil.which("java"):
        raise _lacking("java is missing")
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < OLDEST_JAVA:
        raise _lacking(f"java is version {found[1] if found else 'unknown'}")


def _require_maven() -> None:
    if not shutil.which("mvn"):
        raise _lacking("mvn is missing")


def _lacking(what: str) -> StackError:
    return StackError(
        f"Apache Kafka needs Java {OLDEST_JAVA} or newer and Maven, but {what}:"
        " `apt-get install --no-install-recommends maven` installs both on Debian,"
        " BROKER=light needs neither"
    )
