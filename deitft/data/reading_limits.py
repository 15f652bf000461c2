"""What one photo may cost the process that reads it: memory, seconds, and its life (fault D4).

Hostile bytes meet C libraries there. What takes too long or crashes ends that process alone; the one that waits
learns from the ``Watch`` which photo it was. Photos that are huge once decoded are decoded one at a time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from deitft.data.catalog import BadPhoto

SECONDS = 20.0
"""Processor seconds that one photo may take; 100 million pixels take two or three."""
HUGE_PIXELS = 25_000_000
"""Pixels to decode from which on photos go one by one."""
BYTES_A_PIXEL = 10
"""Memory that decoding may take at most, for each pixel that a photo may claim."""
SPARE_BYTES = 128 * 1024 * 1024

_NOBODY = -1
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGTRAP")


class Watch:
    """Who reads which photo just now: shared by all reading processes and the one that waits for them."""

    def __init__(self, context: BaseContext, readers: int) -> None:
        shared: Any = context
        self.pids = shared.RawArray("q", [_NOBODY] * readers)
        self.rows = shared.RawArray("q", [_NOBODY] * readers)
        self.count = shared.Value("i", 0)
        handle, self.gate = tempfile.mkstemp(prefix="deitft-")
        os.close(handle)

    def close(self) -> None:
        """Remove the gate's file."""
        with contextlib.suppress(OSError):
            Path(self.gate).unlink()

    def culprits(self, processes: Iterable[BaseProcess]) -> dict[int, BadPhoto]:
        """Photos that ended the process that read them, by row; nothing where processes died of other causes."""
        found = {}
        row_of = dict(zip(self.pids, self.rows, strict=True))
        for process in processes:
            row = row_of.get(process.pid or 0, _NOBODY)
            reason = _reason(process.exitcode)
            if row != _NOBODY and reason is not None:
                found[row] = reason
        return found


def _reason(exitcode: int | None) -> BadPhoto | None:
    names = {-getattr(signal, name): name for name in (*_CRASHES, "SIGPROF") if hasattr(signal, name)}
    name = names.get(exitcode or 0)
    if name is None:
        return None
    if name == "SIGPROF":
        return BadPhoto("D4", f"takes longer than {SECONDS:g} s to decode")
    return BadPhoto("D2", f"crashes the decoder ({name})")


class Reader:
    """The same seen from one reading process."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        with watch.count.get_lock():
            self._place = watch.count.value
            watch.count.value += 1
        watch.pids[self._place] = os.getpid()
        self._gate = os.open(watch.gate, os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))

    @contextlib.contextmanager
    def reading(self, row: int) -> Iterator[None]:
        """The block decodes the photo of this row; after ``SECONDS`` the process is ended by the system."""
        self._watch.rows[self._place] = row
        try:
            with _clock():
                yield
        finally:
            self._watch.rows[self._place] = _NOBODY

    @contextlib.contextmanager
    def alone(self, pixels: int) -> Iterator[None]:
        """The block holds so many decoded pixels; where they are many, no other process does the same."""
        if pixels < HUGE_PIXELS or sys.platform == "win32":
            yield
            return
        import fcntl

        fcntl.flock(self._gate, fcntl.LOCK_EX)  # the system takes it back from a process that dies
        try:
            yield
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)


@contextlib.contextmanager
def _clock() -> Iterator[None]:
    """Processor seconds: a busy machine is not the photo's fault. No handler: python's wait for C code to end."""
    if not hasattr(signal, "ITIMER_PROF"):
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def bound_memory(max_pixels: int) -> None:
    """Let this process have no more memory than it has now, and what one photo of ``max_pixels`` takes.

    Only where the system knows such a limit (Linux); elsewhere nothing is done.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + BYTES_A_PIXEL * max_pixels + SPARE_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    except (ImportError, OSError, ValueError):
        return
