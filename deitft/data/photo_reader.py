"""What a reading process does: open one photo after another, hash it, decode it, say what it is.

Hostile bytes meet the decoders here, in a process that holds nothing else.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.core.forked import as_child
from deitft.data.bad_photo import max_pixels
from deitft.data.catalog import BadPhoto
from deitft.data.colour import PhotoNote
from deitft.data.decode import BadPhotoError, decode, examine, photo_size
from deitft.data.formats import FORMAT_OF_EXTENSION
from deitft.data.looks import LOOK_BYTES, PIXEL_BYTES
from deitft.data.near_pixels import DECODED_SIDE, Plane, likeness, plane_of
from deitft.data.photo_cache import UNKNOWN
from deitft.data.places import Places
from deitft.data.reading_limits import Reader, Watch, bound_memory


@dataclass(slots=True)
class Answer:
    """What was found of one chunk of photos, in their order."""

    stamps: npt.NDArray[np.int64]
    digests: npt.NDArray[np.uint8]
    shapes: npt.NDArray[np.int32]
    notes: npt.NDArray[np.uint16]
    pixels: npt.NDArray[np.uint8]
    looks: npt.NDArray[np.uint8]
    contrast: npt.NDArray[np.float32]
    sharpness: npt.NDArray[np.float32]
    bad: dict[int, BadPhoto] = field(default_factory=dict)


_places = Places(())
"""Where the photos of this reading process are: handed over once, at its start."""


_reader: Reader | None = None
"""What this process tells of the photo it is at."""


def start(parent: int, places: Places, watch: Watch) -> None:
    """Prepare a reading process: the parent decides when to stop; without a parent it ends by itself.

    What decoders write to stderr nobody sees: what matters of it comes as an error as well.
    """
    global _places, _reader  # one process, one data set
    _places, _reader = places, Reader(watch)
    as_child()
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # what the clock of a photo sends
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    bound_memory(max_pixels())
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def read_photos(paths: list[str], rows: list[int]) -> Answer:
    """Read and examine photos of this process's places; ``rows`` are their numbers in the catalog.

    Raises:
        OutsideError: one leads outside its root by now (id S4).
    """
    assert _reader is not None  # set by ``start``
    count = len(paths)
    answer = Answer(
        stamps=np.full((count, 4), UNKNOWN, np.int64),
        digests=np.zeros((count, 32), np.uint8),
        shapes=np.zeros((count, 2), np.int32),
        notes=np.zeros(count, np.uint16),
        pixels=np.zeros((count, PIXEL_BYTES), np.uint8),
        looks=np.zeros((count, LOOK_BYTES), np.uint8),
        contrast=np.zeros(count, np.float32),
        sharpness=np.zeros(count, np.float32),
    )
    for row, path in enumerate(paths):
        try:
            answer.stamps[row], data = _places.read(path)
            answer.digests[row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
            with _reader.reading(rows[row]):
                found = examine(data, alone=_reader.alone)
            answer.shapes[row] = found.width, found.height
            answer.notes[row] = found.notes
            if _misnamed(path, found.format):
                answer.notes[row] |= PhotoNote.WRONG_EXTENSION
            if found.looks is not None:
                answer.pixels[row] = np.frombuffer(found.looks.pixels, np.uint8)
                answer.looks[row] = found.looks.look
                answer.contrast[row], answer.sharpness[row] = found.looks.contrast, found.looks.sharpness
        except BadPhotoError as error:
            answer.bad[row] = BadPhoto(error.id, error.reason)
        except OSError as error:
            answer.bad[row] = BadPhoto("D2", (error.strerror or str(error)).lower())
        except MemoryError:
            answer.bad[row] = BadPhoto("D4", "needs more memory than a photo should")
    return answer


def compare_photos(jobs: list[tuple[str, str, int, int, int]]) -> list[float]:
    """How well pairs of photos are one picture: ``near_pixels.likeness`` of (path, path, row, row, view).

    0 where one of them cannot be read any more: it is found out when it is needed.
    """
    found = []
    for first, second, row, other, view in jobs:
        try:
            found.append(likeness(_plane(first, row), _plane(second, other), view))
        except (BadPhotoError, OSError, MemoryError):
            found.append(0.0)
    return found


def _plane(path: str, row: int) -> Plane:
    assert _reader is not None  # set by ``start``
    plane = _planes.get(path)
    if plane is None:
        _, data = _places.read(path)
        width, height = photo_size(data)
        with _reader.reading(row), _reader.alone(width * height):
            plane = plane_of(decode(data, at_least=DECODED_SIDE))
        if len(_planes) >= KEPT_PLANES:
            _planes.pop(next(iter(_planes)))
        _planes[path] = plane
    return plane


_planes: dict[str, Plane] = {}
"""Photos this process has compared last."""
KEPT_PLANES = 500


def _misnamed(path: str, kind: str) -> bool:
    end = os.path.splitext(path)[1].lower()  # noqa: PTH122 - strings: a million paths
    return FORMAT_OF_EXTENSION.get(end, kind) != kind
