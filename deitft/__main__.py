"""The program, as ``deitft`` and as ``python -m deitft`` for launchers that want a module."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def run() -> int:
    """One command line. Ctrl-C ends it in one line from the first moment on, while it is still being loaded."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from deitft.cli.app import main

    return main()


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"deitft: error [N4]: stopped by Ctrl-C\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(run())
