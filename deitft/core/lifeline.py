"""A child that does not outlive its parent: its standard input is held open by the parent alone.

However the parent ends, killed too, the system closes that end; the child then stops as if asked to, and after a
few seconds at any price. What it has saved by then is there to go on from.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

ASKED = "DEITFT_ENDS_WITH_PARENT"
"""Set in the environment of a child that is to hold on to the line."""
GRACE_SECONDS = 4.0
"""Between being asked to end and being ended."""


def hold() -> None:
    """In the child, first thing: watch the line, if this process was started with one."""
    if os.environ.pop(ASKED, "") and sys.platform != "win32":
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    try:
        while os.read(0, 1024):
            pass
    except OSError:
        return  # no line: whoever started it closed the standard input
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)
