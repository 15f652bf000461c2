"""What other processes do with the cores that this one may use, while something is timed. No torch."""

from __future__ import annotations

import os
import time

import psutil


class Bystanders:
    """Watches from its making on. The cores are those of this process's affinity."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy, self._own = busy_seconds(), own_seconds()

    def share(self) -> float | None:
        """The share of the cores that others used since the start, 0 to 1; None where the system does not say."""
        busy, own = busy_seconds(), own_seconds() - self._own
        passed = time.monotonic() - self._began
        if busy is None or self._busy is None or passed <= 0:
            return None
        used = busy - self._busy
        if used < own / 2:  # a sandbox that shows no true counters
            return None
        return min(1.0, max(0.0, used - own) / (passed * len(own_cores())))


def own_cores() -> list[int]:
    """Numbers of the logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(psutil.cpu_count() or 1))


def own_seconds() -> float:
    """Processor seconds of this process, all threads, and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def busy_seconds() -> float | None:
    """Seconds that our cores were busy since the machine began, with whatever; stolen time counts."""
    rows = psutil.cpu_times(percpu=True)
    cores = own_cores()
    if not rows or cores[-1] >= len(rows):  # some cores are offline: which row is whose is not known
        return None
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(rows[core], name, 0.0) for core in cores for name in names))
