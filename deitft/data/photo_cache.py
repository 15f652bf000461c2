"""What reading every photo has told, kept on disk so that it is read once: one file a data folder.

Arrays in numpy's own format without pickle; checked when read. A file that is damaged, of another version or
made by another decoder is as good as none: everything is read again.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import platformdirs

from deitft.core.files import open_private, private_directory, replacing
from deitft.core.records import version_of
from deitft.data.bad_photo import max_pixels
from deitft.data.catalog import BadPhoto
from deitft.data.looks import LOOK_BYTES, LOOKS_VERSION, PIXEL_BYTES
from deitft.data.places import Places

CACHE_VERSION = 2
DECODER_VERSION = 2
"""Raise it whenever ``decode.examine`` judges or measures differently."""
COLUMNS = ("stamps", "digests", "shapes", "notes", "pixels", "looks", "contrast", "sharpness")
UNKNOWN = -1
"""The stamp of a photo that was not read, or could not be opened."""


def default_cache_dir() -> Path:
    """Where caches of this program belong: ``$XDG_CACHE_HOME/deitft`` on Linux. Never inside the data."""
    return Path(platformdirs.user_cache_dir("deitft"))


@dataclass(slots=True)
class PhotoFacts:
    """What is known of N photos. ``stamps`` is UNKNOWN where nothing is."""

    paths: list[str]
    stamps: npt.NDArray[np.int64]  # [N, 4] bytes, content and entry changed (ns), inode
    digests: npt.NDArray[np.uint8]  # [N, 32]
    shapes: npt.NDArray[np.int32]  # [N, 2] width, height, upright
    notes: npt.NDArray[np.uint16]  # [N]
    pixels: npt.NDArray[np.uint8]  # [N, 16] as ``looks.Looks``, zeros for a bad photo
    looks: npt.NDArray[np.uint8]  # [N, 96]
    contrast: npt.NDArray[np.float32]  # [N]
    sharpness: npt.NDArray[np.float32]  # [N]
    bad: dict[int, BadPhoto] = field(default_factory=dict)

    @classmethod
    def unknown(cls, paths: list[str]) -> PhotoFacts:
        """Nothing known yet of these photos."""
        count = len(paths)
        return cls(
            paths=paths,
            stamps=np.full((count, 4), UNKNOWN, np.int64),
            digests=np.zeros((count, 32), np.uint8),
            shapes=np.zeros((count, 2), np.int32),
            notes=np.zeros(count, np.uint16),
            pixels=np.zeros((count, PIXEL_BYTES), np.uint8),
            looks=np.zeros((count, LOOK_BYTES), np.uint8),
            contrast=np.zeros(count, np.float32),
            sharpness=np.zeros(count, np.float32),
        )

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """[N] True where the photo was read."""
        known: npt.NDArray[np.bool_] = self.stamps[:, 0] != UNKNOWN
        return known

    def still_holds(
        self,
        sizes: npt.NDArray[np.int64],
        stamps: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64] | slice = slice(None),
    ) -> npt.NDArray[np.bool_]:
        """Whether what is known of ``rows`` holds of photos of these ``sizes`` and ``stamps`` [n, 3] now."""
        same = self.known[rows]
        for column, now in enumerate((sizes, *stamps.T)):  # one by one: of a million, a copy is 32 MB
            same &= self.stamps[rows, column] == now
        # What was too large then may pass today, and the other way round; a reader may have been installed.
        same &= self.shapes[rows].prod(axis=1, dtype=np.int64) < max_pixels()
        undecided = np.zeros(len(self.paths), np.bool_)
        undecided[[row for row, bad in self.bad.items() if bad.id in ("D4", "D18")]] = True
        holds: npt.NDArray[np.bool_] = same & ~undecided[rows]
        return holds

    def take_from(self, old: PhotoFacts, sizes: npt.NDArray[np.int64], stamps: npt.NDArray[np.int64]) -> None:
        """Copy what ``old`` knows of photos that have the same path, size and ``stamps`` [N, 3] now."""
        if old.paths is self.paths or old.paths == self.paths:
            here = there = np.arange(len(self.paths))
        else:
            rows = {path: row for row, path in enumerate(old.paths)}
            found = np.array([rows.get(path, -1) for path in self.paths], np.int64)
            here = np.flatnonzero(found >= 0)
            there = found[here]
        same = old.still_holds(sizes[here], stamps[here], there)
        here, there = here[same], there[same]
        for name in COLUMNS:
            getattr(self, name)[here] = getattr(old, name)[there]
        if old.bad:
            places = dict(zip(there.tolist(), here.tolist(), strict=True))
            self.bad |= {places[row]: bad for row, bad in old.bad.items() if row in places}


def recall(
    file: Path | None, paths: list[str], sizes: npt.NDArray[np.int64], stamps: npt.NDArray[np.int64]
) -> PhotoFacts:
    """What is known of photos that have these ``sizes`` and ``stamps`` [N, 3] now; ``file`` None keeps nothing.

    Where nothing has changed, the columns are those of the file: there is no second copy of them.
    """
    old = None if file is None else load(file, paths)
    if old is not None and old.paths is paths and old.still_holds(sizes, stamps).all():
        return old
    facts = PhotoFacts.unknown(paths)
    if old is not None:
        facts.take_from(old, sizes, stamps)
    return facts


def cache_file(cache_dir: Path, places: Places) -> Path:
    """The file of a data set: named by a hash of the real paths of what the user named."""
    name = hashlib.sha256("\0".join(places.origin).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return cache_dir / "photos" / f"{name}.npz"


def load(file: Path, paths: list[str] | None = None) -> PhotoFacts | None:
    """What a cache file knows, or None where it cannot be used. Of just these ``paths`` it takes this list."""
    try:
        with open_private(file) as opened, np.load(opened, allow_pickle=False) as stored:
            if bytes(stored["version"]) != _version():
                return None
            names = bytes(stored["paths"])
            if paths is None or names != _joined(paths):
                paths = names.decode().split("\0")
            del names
            bad = json.loads(bytes(stored["bad"]))
            facts = PhotoFacts(
                paths=paths,
                **{name: stored[name] for name in COLUMNS},
                bad={int(row): BadPhoto(str(id), str(reason)) for row, (id, reason) in bad.items()},
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        return None
    return facts if _is_whole(facts) else None


def save(file: Path, facts: PhotoFacts) -> None:
    """Write a cache file whole or not at all, readable by its owner only.

    Raises:
        OSError: it cannot be written.
    """
    private_directory(file.parent)
    bad = {row: (bad.id, bad.reason) for row, bad in facts.bad.items()}
    with replacing(file) as out:
        _write(out, facts, bad)


def _write(out: BinaryIO, facts: PhotoFacts, bad: dict[int, tuple[str, str]]) -> None:
    np.savez(
        out,
        version=_bytes(_version()),
        paths=_bytes(_joined(facts.paths)),
        bad=_bytes(json.dumps(bad).encode()),
        **{name: getattr(facts, name) for name in COLUMNS},
    )


def _is_whole(facts: PhotoFacts) -> bool:
    count = len(facts.paths)
    empty = PhotoFacts.unknown([])
    columns_fit = all(
        getattr(facts, name).shape == (count, *getattr(empty, name).shape[1:])
        and getattr(facts, name).dtype == getattr(empty, name).dtype
        for name in COLUMNS
    )
    return columns_fit and all(0 <= row < count for row in facts.bad)


def _joined(paths: list[str]) -> bytes:
    return "\0".join(paths).encode()


def _version() -> bytes:
    parts = [
        f"{name} {version_of(name)}" for name in ("pillow", "simplejpeg", "opencv-python-headless", "pillow-heif")
    ]
    return f"{CACHE_VERSION} {DECODER_VERSION} {LOOKS_VERSION} {' '.join(parts)}".encode()


def _bytes(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)
