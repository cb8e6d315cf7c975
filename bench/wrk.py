"""wrk, from the Debian root: posts one body again and again, and tells what was answered."""

import json
import secrets
import subprocess
from typing import NamedTuple

from stack import debian, folders
from stack.errors import StackError

_SCRIPT = """
local file = io.open("{folder}/body", "rb")
wrk.method = "{method}"
wrk.body = "{method}" == "POST" and file:read("*a") or nil
{headers}
done = function(summary, latency, requests)
  io.write(string.format(
    '\\n{{"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


class Answers(NamedTuple):
    """What one run of wrk saw.

    per_s: requests answered in a second. refused: answers of 400 and above. broken: connections
    that failed or timed out.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int


def ask(
    url: str,
    seconds: int,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    connections: int = 100,
) -> Answers:
    """Ask for a URL on so many connections at once: by POST where there is a body, else by GET."""
    root = debian.install("wrk")
    name = f"temporary-{secrets.token_hex(6)}"
    outside, inside = folders.folder(name), f"{folders.HOME}/{name}"
    lock = folders.try_lock(name)
    if lock is None:
        raise StackError(f"the folder {outside} is taken")
    try:
        with lock:
            outside.mkdir()
            (outside / "body").write_bytes(body or b"")
            lines = [f'wrk.headers["{key}"] = "{value}"' for key, value in (headers or {}).items()]
            script = _SCRIPT.format(
                folder=inside, method="GET" if body is None else "POST", headers="\n".join(lines)
            )
            (outside / "script.lua").write_text(script)
            options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", "--latency"]
            done = subprocess.run(
                ["chroot", str(root), "wrk", *options, "-s", f"{inside}/script.lua", url],
                capture_output=True,
                text=True,
                check=False,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
    finally:
        folders.remove(name)
    return _answers(done.stdout, done.stderr)


def _answers(told: str, complaint: str) -> Answers:
    found = [line for line in told.splitlines() if line.startswith("{")]
    if not found:
        raise StackError(f"wrk told nothing: {' '.join((complaint or told).split())}")
    figures = json.loads(found[-1])
    return Answers(
        figures["requests"] / figures["us"] * 1_000_000,
        figures["p50_us"] / 1000,
        figures["p99_us"] / 1000,
        figures["refused"],
        figures["broken"],
    )
