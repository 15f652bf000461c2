"""What a forked process must not keep of the one it comes from."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def own_streams() -> None:
    """Called first in a child: other objects for stdout and stderr, on the same files.

    At the fork another thread may have been writing, the one that moves the bar: its lock on the stream stays
    locked in the child, and a child flushes its streams at its end.
    """
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(number: int) -> TextIOWrapper:
    try:
        return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    except OSError:  # closed by whoever started the program
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
