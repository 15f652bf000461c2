"""PhotoSet: which photos a stream reads, and how one is read so that a fault is never hidden.

A photo that cannot be read, or that is not what it was when the run began, is an error that names it
(fault D16). No other photo ever takes its place.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import Catalog, shown
from deitft.data.digests import Digests
from deitft.data.places import OutsideError, Places, ShardChangedError
from deitft.errors import DataError, DeitftError, StorageError

RETRIES = 3
"""How often one photo is read again after an error that may pass (a disk or a network that stumbled)."""
RETRY_SECONDS = (0.05, 0.2, 0.8)
_PASSING = frozenset({errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.ESTALE, errno.EINTR})


@dataclass(frozen=True, slots=True)
class Lost:
    """A photo that was there when the run began and cannot be had now.

    ``detail`` is the system's reason, or what the content's hash was and is.
    """

    path: str
    kind: Literal["gone", "unreadable", "changed", "outside"]
    detail: str

    def error(self, *, during: str, place: str, hint: str) -> DeitftError:
        """The error of fault D16; ``during`` is "training", ``place`` "epoch 2, step 310"."""
        name, inside = shown(self.path), f" ({place})" if place else ""
        if self.kind == "changed":
            inside = f" ({place}; {self.detail})" if place else f" ({self.detail})"
            what = f"{name} changed since the run began{inside}"
            return DataError(what, hint, id="D16", files=(self.path,))
        if self.kind == "outside":
            what = f"{name} leads to a place outside the folder of photos by now{inside}"
            return DataError(what, "put the photo itself there", id="S4", files=(self.path,))
        if self.kind == "gone":
            what = f"{name} disappeared during {during}{inside}"
        else:
            what = f"{name} cannot be read any more ({self.detail}) during {during}{inside}"
        return StorageError(what, hint, id="D16", files=(self.path,))


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one photo, and how often reading had to be tried again."""

    data: bytes
    retries: int


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Photos in a fixed order. A sample's number is its position here.

    ``paths`` are relative to ``root``; ``labels`` are class numbers, -1 for unknown; ``digests`` are SHA-256
    of the content, 32 bytes each: where given, what is read later must still match. ``places`` is how a path
    becomes bytes; the files below ``root`` unless given.
    """

    root: Path
    paths: Sequence[str]
    labels: npt.NDArray[np.int64]
    digests: Sequence[bytes] | None = None
    places: Places = field(default_factory=lambda: Places(()))

    def __post_init__(self) -> None:
        if not self.places.places:
            object.__setattr__(self, "places", Places.folder(self.root))

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, rows: range) -> PhotoSet:
        """Consecutive photos of it as a set of their own."""
        here = slice(rows.start, rows.stop)
        digests = None if self.digests is None else self.digests[here]
        return replace(self, paths=self.paths[here], labels=self.labels[here], digests=digests)

    def read(self, index: int) -> Content | Lost:
        """The whole content of one photo, compared with its digest where there is one.

        Raises:
            BadPhotoError: it has more bytes than a photo (id D4).
        """
        path = self.paths[index]
        for attempt in range(RETRIES + 1):
            try:
                _, data = self.places.read(path)
                break
            except OutsideError as error:
                return Lost(path, "outside", error.what)
            except ShardChangedError as error:
                return Lost(path, "changed", str(error))
            except OSError as error:
                if error.errno not in _PASSING or attempt == RETRIES:
                    return self._lost(index, error)
                time.sleep(RETRY_SECONDS[attempt])
        if self.digests is not None:
            was, now = self.digests[index], hashlib.sha256(data).digest()
            if was != now:
                detail = f"sha256 was {was.hex()[:12]}…, is {now.hex()[:12]}…"
                return Lost(self.paths[index], "changed", detail)
        return Content(data, attempt)

    def _lost(self, index: int, error: OSError) -> Lost:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Lost(self.paths[index], "gone", "no such file")
        return Lost(self.paths[index], "unreadable", (error.strerror or type(error).__name__).lower())


def photo_set(catalog: Catalog, indices: npt.NDArray[np.int64] | Sequence[int]) -> PhotoSet:
    """The photos of these catalog rows, in this order. Digests come along where the catalog has all of them."""
    chosen = [int(index) for index in indices]
    digests = Digests.of(catalog.digests)[np.asarray(chosen, np.int64)]
    known = len(digests) > 0 and bool(digests.there.all())  # empty before the photos were inspected
    return PhotoSet(
        root=catalog.root,
        paths=[catalog.paths[index] for index in chosen],
        labels=np.asarray([catalog.labels[index] for index in chosen], dtype=np.int64),
        digests=digests if known else None,
        places=catalog.places,
    )
