"""Memory that a tensor gives back is kept for the next one, and not handed to the system in between. No torch.

On a processor torch takes tensors from the C library. glibc asks the system anew for every block above 32 MB and
hands it back at once; the kernel then clears each page of it before every use. That was up to 40 % of the time of
convnets with batches of 64. The arithmetic is the same, and so is every bit; the peak is up to a quarter higher,
because blocks of different sizes share what is kept. Other C libraries and systems have no such switch, and are
left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of settings (malloc.h)."""
_NEVER, _ALONE = -1, 0
"""Nothing is trimmed off the heap; no block is asked for by itself."""
_USUAL_TRIM, _USUAL_ALONE = 128 * 1024, 65536
"""glibc's own."""


@dataclass
class _Depth:
    """How many of these blocks are open, in all threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    open: int = 0


_depth = _Depth()


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, what is freed stays with the process; at the end it goes back to the system.

    Inside another one of these it changes nothing. Nothing is promised: where it cannot be, all is as before.
    """
    with _depth.lock:
        _depth.open += 1
        if _depth.open == 1:
            _set(_NEVER, _ALONE)
    try:
        yield
    finally:
        with _depth.lock:
            _depth.open = max(0, _depth.open - 1)
            if _depth.open == 0:
                _set(_USUAL_TRIM, _USUAL_ALONE)
                _give_back()


def _in_fork() -> None:
    """A data worker decodes photos of all sizes: it would hold the largest for ever, and one in each worker."""
    _depth.lock = threading.Lock()
    if _depth.open:
        _depth.open = 0
        _set(_USUAL_TRIM, _USUAL_ALONE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_fork)


def _set(trim_threshold: int, mmap_max: int) -> None:
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, trim_threshold)
        mallopt(_MMAP_MAX, mmap_max)


def _give_back() -> None:
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where the C library is another: musl's has the name, and does nothing."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "gnu_get_libc_version"):
        return None
    found: Callable[..., int] | None = getattr(library, name, None)
    return found
