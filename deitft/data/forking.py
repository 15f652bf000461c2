"""What must be true before a process that reads photos is forked."""

from __future__ import annotations

import sys


def still_opencv() -> None:
    """End OpenCV's threads in this process, where it is loaded.

    They do not survive a fork: a child that touches its copy of the pool waits for ever. Our work on photos is
    spread over processes, so the threads would bring nothing.
    """
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
