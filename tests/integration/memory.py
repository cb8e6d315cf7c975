"""What a process has taken of the machine's memory, as the kernel tells it."""

from pathlib import Path

_KIB_A_MIB = 1024


def resident_mib(pid: int) -> int:
    """Return the resident memory of a process now."""
    return _status_mib(pid, "VmRSS")


def peak_mib(pid: int) -> int:
    """Return the most that a process ever had resident: the kernel misses no moment."""
    return _status_mib(pid, "VmHWM")


def _status_mib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) // _KIB_A_MIB
    raise AssertionError(f"no {name} of process {pid}")
