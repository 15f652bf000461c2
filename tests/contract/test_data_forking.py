"""Reading processes are forked from a process whose OpenCV has threads of its own: nobody waits for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import MakePhotos

SCRIPT = """
import sys
import cv2
import numpy as np
from deitft.core.progress import Silent
from deitft.data.inspect import inspect
from deitft.data.scan import scan
cv2.setNumThreads(4)
for _ in range(3):  # starts the pool
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 5)
found = inspect(scan(sys.argv[1], progress=Silent()), workers=2, progress=Silent(), cache_dir=None)
print(len(found), len(found.bad))
"""


def test_photos_are_read_beside_a_running_opencv(make_photos: MakePhotos) -> None:
    root: Path = make_photos({"a": 5, "b": 4})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "9 0\n"
