"""What this machine lets the process use, and what it has used: cores, memory, processor features. No torch."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Physical cores that this process may use: its affinity and its cgroup's quota counted, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = physical_cores(os.sched_getaffinity(0))
    else:
        cores = psutil.cpu_count(logical=False) or 1
    quota = cpu_quota()
    return max(1, cores if math.isinf(quota) else min(cores, math.ceil(quota)))


def physical_cores(logical: Iterable[int], root: Path = Path("/sys/devices/system/cpu")) -> int:
    """How many physical cores these logical ones are; each counts as one where the system does not say."""
    siblings = set()
    for number in logical:
        try:
            siblings.add((root / f"cpu{number}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            siblings.add(str(number))
    return len(siblings)


def cgroup_folders(controller: str, root: Path = CGROUPS, own: Path = OWN_CGROUP) -> Iterator[Path]:
    """The folders of this process's cgroup and all above it, versions 2 and 1; the mount points come last.

    Inside a container the mount point is the container's own group; under a batch system it is the machine's,
    and the limit stands somewhere between.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if (controllers and controller not in controllers.split(",")) or ".." in path.split("/"):
            continue  # another controller's, or a group outside of what this container sees
        top = root / controllers if controllers else root
        folder = top / path.lstrip("/")
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent
    yield root
    yield root / controller


def cpu_quota(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> float:
    """Cores' worth of time that the cgroups let this process use; infinite without a limit."""
    least = math.inf
    for folder in cgroup_folders("cpu", root, own):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            least = min(least, int(quota) / int(period))  # "max" is no number: no limit
        with contextlib.suppress(OSError, ValueError):
            allowed = int((folder / "cpu.cfs_quota_us").read_text())
            if allowed > 0:
                least = min(least, allowed / int((folder / "cpu.cfs_period_us").read_text()))
    return least


def memory_limit(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> int:
    """Bytes that the cgroups let this process use; ``sys.maxsize`` without a limit."""
    least = sys.maxsize
    for folder in cgroup_folders("memory", root, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                least = min(least, int((folder / name).read_text()))
    return least


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The processor's features as Linux names them; empty where it does not say."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def resident_peak() -> int:
    """The most bytes of memory that this process has had so far; 0 where the system does not say."""
    # getrusage would tell of whoever started this process, too: its peak outlives fork and exec
    peak = high_water() if sys.platform == "linux" else None
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def high_water(pid: int | None = None) -> int | None:
    """The largest resident set of a process (left out: this one) in bytes as Linux keeps it; None elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid or 'self'}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def forget_high_water() -> bool:
    """Count this process's peak from here; False where the system cannot (``high_water`` then stays)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux 4.0: "reset the peak resident set size"
        return True
    return False
