"""Catalog: which photos there are, in columns, so that a million of them stay cheap.

Made by ``scan`` (names and stamps), completed by ``inspect`` (content: digest, size in pixels, what is wrong).
Frozen; the arrays are never changed in place.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deitft.data.digests import Digests, numbers_of
from deitft.errors import Notice

if TYPE_CHECKING:
    from deitft.data.places import Places

TRAIN, VAL, TEST, NONE = 0, 1, 2, -1
SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class BadPhoto:
    """Why a photo cannot be used: a fault id (D2, D3, D4, D6, D10, D18) and a reason without the path."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class NearPairs:
    """M pairs of photos that are one picture but not the same pixels (``near_pixels``), as rows of a catalog."""

    first: npt.NDArray[np.int64]  # [M]
    second: npt.NDArray[np.int64]  # [M]
    mirrored: npt.NDArray[np.bool_]  # [M]
    distance: npt.NDArray[np.float32]  # [M] 0: no difference in fine structure
    left: int = 0  # pairs that look alike and were not compared: there were too many

    @classmethod
    def none(cls) -> NearPairs:
        """No pairs."""
        rows = np.zeros(0, np.int64)
        return cls(rows, rows, np.zeros(0, np.bool_), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.first)

    def select(self, rows: npt.NDArray[np.int64], count: int) -> NearPairs:
        """The pairs whose photos are both among these rows of ``count``, by their new places."""
        if not len(self):
            return self
        place = np.full(count, -1, np.int64)
        place[rows] = np.arange(len(rows))
        first, second = place[self.first], place[self.second]
        kept = (first >= 0) & (second >= 0)
        return NearPairs(first[kept], second[kept], self.mirrored[kept], self.distance[kept], self.left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """N photos below ``root``, sorted by path.

    ``paths`` are relative, with ``/``, as they stand on disk. ``labels`` index ``classes`` (-1: unlabelled).
    ``given`` is TRAIN, VAL or TEST where the folders say so, else NONE. ``stamps`` holds per photo the
    nanoseconds of the last change of content, of the last change of the entry, and the inode: two looks with
    equal size and stamps saw the same content. ``groups`` names what belongs together ("" for nothing): one
    side of a split has all of it. ``places`` is how a path becomes bytes; the files below ``root`` unless given.

    Empty or zero before ``inspect``: ``digests`` (32 bytes of SHA-256 of the content), ``widths`` and
    ``heights`` (pixels, upright), ``notes`` (``decode.PhotoNote`` flags), ``bad`` (row -> reason), and what
    ``looks.look_at`` tells: ``pixels`` (a hash of the decoded ones), ``looks``, ``contrast``, ``sharpness``
    (zeros for a bad photo). ``pairs`` are the near-duplicates.
    """

    root: Path
    classes: tuple[str, ...]
    paths: list[str]
    labels: npt.NDArray[np.int32]  # [N]
    given: npt.NDArray[np.int8]  # [N]
    sizes: npt.NDArray[np.int64]  # [N] bytes
    stamps: npt.NDArray[np.int64]  # [N, 3]
    digests: Digests  # [N] bytes; any sequence of byte strings is made one
    widths: npt.NDArray[np.int32]  # [N]
    heights: npt.NDArray[np.int32]  # [N]
    notes: npt.NDArray[np.uint16]  # [N]
    bad: Mapping[int, BadPhoto] = field(default_factory=dict)
    ignored: tuple[tuple[str, str], ...] = ()  # (path, kind)
    notices: tuple[Notice, ...] = ()
    groups: npt.NDArray[np.object_] | None = None  # [N] text
    pixels: npt.NDArray[np.uint8] | None = None  # [N, 16]
    looks: npt.NDArray[np.uint8] | None = None  # [N, 96]
    contrast: npt.NDArray[np.float32] | None = None  # [N]
    sharpness: npt.NDArray[np.float32] | None = None  # [N]
    pairs: NearPairs = field(default_factory=NearPairs.none)
    places: Places = field(default_factory=lambda: _places_of(None))

    def __post_init__(self) -> None:
        object.__setattr__(self, "digests", Digests.of(self.digests))
        if not self.places.places:
            object.__setattr__(self, "places", _places_of(self.root))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def inspected(self) -> bool:
        """True where the content was read."""
        return bool(self.digests.there[:64].any()) or not len(self)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the sorted (path, class, given split, content): equal means the same data set."""
        total, before = hashlib.sha256(b"deitft catalog 1\n"), b""
        for row in self._rows():
            if row < before:  # a catalog is sorted, but for one that was made by hand
                return _hash_of(sorted(self._rows()))
            _add(total, row)
            before = row
        return total.hexdigest()

    def _rows(self) -> Iterator[bytes]:
        names = (*self.classes, "")
        labels, given = self.labels.tolist(), self.given.tolist()
        for path, label, split, digest in zip(self.paths, labels, given, self.digests, strict=True):
            yield "\0".join((normal(path), names[label], str(split), digest.hex())).encode()

    @property
    def contents(self) -> npt.NDArray[np.int64]:
        """[N] a number per content: equal for photos of the same bytes, -1 where a photo was not read."""
        return self.digests.numbers()

    @property
    def pictures(self) -> npt.NDArray[np.int64]:
        """[N] a number per picture: equal for the same pixels or bytes, -1 where a photo was not read.

        Photos of one single colour are told apart by their bytes: they are no picture.
        """
        contents = self.contents
        if self.pixels is None or not len(self):
            return contents
        seen = self.pixels.any(axis=1)
        if self.contrast is not None:
            seen &= self.contrast > 0
        return np.where(seen, numbers_of(self.pixels) + (contents.max() + 1), contents)

    def rows_of(self, paths: Iterable[str]) -> npt.NDArray[np.int64]:
        """The rows of photos that are in this catalog, by their paths."""
        row_of = {path: row for row, path in enumerate(self.paths)}
        return np.array([row_of[path] for path in paths], np.int64)

    def without(self, rows: npt.NDArray[np.int64] | Sequence[int]) -> Catalog:
        """All rows but these."""
        return self.select(np.delete(np.arange(len(self)), np.asarray(rows, dtype=np.int64)))

    def select(self, indices: npt.NDArray[np.int64] | Sequence[int]) -> Catalog:
        """The rows ``indices``, in their order; classes, ignored files and notices stay."""
        rows = np.asarray(indices, dtype=np.int64)
        places = {int(old): new for new, old in enumerate(rows)} if self.bad else {}
        return Catalog(
            root=self.root,
            classes=self.classes,
            paths=[self.paths[row] for row in rows.tolist()],
            labels=self.labels[rows],
            given=self.given[rows],
            sizes=self.sizes[rows],
            stamps=self.stamps[rows],
            digests=self.digests[rows],
            widths=self.widths[rows],
            heights=self.heights[rows],
            notes=self.notes[rows],
            bad={places[old]: bad for old, bad in self.bad.items() if old in places},
            ignored=self.ignored,
            notices=self.notices,
            groups=None if self.groups is None else self.groups[rows],
            pixels=None if self.pixels is None else self.pixels[rows],
            looks=None if self.looks is None else self.looks[rows],
            contrast=None if self.contrast is None else self.contrast[rows],
            sharpness=None if self.sharpness is None else self.sharpness[rows],
            pairs=self.pairs.select(rows, len(self)),
            places=self.places,
        )


def _add(total: hashlib._Hash, row: bytes) -> None:
    total.update(len(row).to_bytes(4, "little"))
    total.update(row)


def _hash_of(rows: Sequence[bytes]) -> str:
    total = hashlib.sha256(b"deitft catalog 1\n")
    for row in rows:
        _add(total, row)
    return total.hexdigest()


def _places_of(root: Path | None) -> Places:
    from deitft.data.places import Places  # which imports this module

    return Places(()) if root is None else Places.folder(root)


def normal(text: str) -> str:
    """The composed Unicode form (NFC): one name for one word, whatever system wrote it."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def shown(text: str) -> str:
    """A name from the data as it may be shown: control, direction and undecodable characters as escapes."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as python keeps it
        return f"\\x{code - 0xDC00:02x}"
    return ascii(letter)[1:-1]


def counted(count: int, one: str, many: str | None = None) -> str:
    """ "1 photo", "3 photos": a count with its word."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def object_column(values: Sequence[bytes] | Sequence[str]) -> npt.NDArray[np.object_]:
    """A column of byte strings or texts; numpy's own byte type would cut trailing zeros off a digest."""
    column = np.empty(len(values), dtype=np.object_)
    column[:] = values
    return column
