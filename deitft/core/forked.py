"""Child processes: what they must not keep of the one they come from, and how they ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from io import TextIOWrapper


def as_child() -> None:
    """Called first in a child: streams of its own, and when to stop is decided by the process that asked."""
    _own_streams()
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _own_streams() -> None:
    """Other objects for stdout and stderr, on the same files.

    At the fork another thread may have been writing, the one that moves the bar: its lock on the stream stays
    locked in the child, and a child flushes its streams at its end.
    """
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(number: int) -> TextIOWrapper:
    try:
        return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    except OSError:  # closed by whoever started the program
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block. What is forked inside inherits the mask: no handler of
    ours runs in it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def how_it_ended(code: int | None, hints: Mapping[int, str]) -> str:
    """The exit code of a process in words; ``hints`` are the usual reasons of signals."""
    if code is None or code >= 0:
        return f"exit status {code}"
    return f"killed, signal {-code}{hints.get(-code, '')}"
