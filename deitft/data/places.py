"""Places: how a photo's path becomes its bytes. Nothing else opens a photo.

A path begins with the prefix of its place: a folder of files ("" for a single root, "summer/" for one of
several), or a tar shard ("train-00000.tar/"). What is opened is compared with what was listed: a file must lie
below its root on the open descriptor itself, whatever links were changed in between (fault S4), and a shard must
still be the one its index was made of.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import shown
from deitft.data.decode import read_limited
from deitft.errors import DataError

Stamps = tuple[int, int, int, int]
"""Bytes, nanoseconds of the last change of content and of the entry, inode. A shard's members have its own."""

MAX_OPEN_SHARDS = 64
"""Tar files that one process keeps open; the one used longest ago is closed first."""


class OutsideError(DataError):
    """A photo's path leads outside its root now (id S4)."""


class ShardChangedError(OSError):
    """A shard is not the one that was listed: what stands at a member's place is unknown."""


def stamps_of(status: os.stat_result) -> Stamps:
    """The stamps of a file."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, signed_inode(status)


def signed_inode(status: os.stat_result) -> int:
    """An inode as a signed 64-bit number."""
    return status.st_ino if status.st_ino < 2**63 else status.st_ino - 2**64


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """Files below ``base``, an absolute path without links; "" for files that were named one by one."""

    prefix: str
    base: str

    def read(self, below: str, path: str) -> tuple[Stamps, bytes]:
        """A regular file's stamps and bytes, of one and the same open file. Never waits on a pipe."""
        full = f"{self.base}/{below}" if self.base else below
        descriptor = os.open(full, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(
                    errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL, "not a file any more"
                )
            if self.base and not self._holds(descriptor, status, full):
                raise OutsideError(
                    f"{shown(path)} leads to a place outside {shown(self.base)}",
                    "copy what it points to into the folder, or remove the link",
                    id="S4",
                    files=(path,),
                )
            return stamps_of(status), read_limited(file)

    def _holds(self, descriptor: int, status: os.stat_result, full: str) -> bool:
        """Whether the open file lies below the root."""
        inside = self.base.rstrip("/") + "/"
        if sys.platform == "linux":
            try:
                found = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - a million paths
            except OSError:  # no /proc
                found = ""
            if found.startswith("/"):
                return found.startswith(inside)
        real = os.path.realpath(full)
        return real.startswith(inside) and os.path.samestat(os.stat(real), status)  # noqa: PTH116


@dataclass(frozen=True, slots=True, eq=False)
class ShardPlace:
    """Members of one tar file, by a 64-bit hash of their names: 24 bytes a member.

    ``stamp`` is (bytes, nanoseconds, inode) of the tar when its index was made.
    """

    prefix: str
    file: str
    stamp: tuple[int, int, int]
    keys: npt.NDArray[np.uint64]  # [N] ascending
    offsets: npt.NDArray[np.int64]  # [N] of the content
    sizes: npt.NDArray[np.int64]  # [N]
    digests: npt.NDArray[np.uint8] | None = None  # [N, 32] what a list beside the shard promises

    @classmethod
    def of(
        cls,
        prefix: str,
        file: str,
        stamp: tuple[int, int, int],
        names: Iterable[str],
        offsets: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
        digests: npt.NDArray[np.uint8] | None = None,
    ) -> ShardPlace:
        """The place of members that are listed in any order."""
        keys = np.fromiter(map(member_key, names), np.uint64, len(offsets))
        order = np.argsort(keys, kind="stable")
        promised = None if digests is None else digests[order]
        return cls(prefix, file, stamp, keys[order], offsets[order], sizes[order], promised)

    def read(self, below: str, path: str) -> tuple[Stamps, bytes]:
        """A member's stamps and bytes."""
        at = self.row(below)
        if at is None:
            raise FileNotFoundError(errno.ENOENT, "no such member", path)
        size = int(self.sizes[at])
        with _handles.lock:
            descriptor, status = _handles.get(self.file)
            if (status.st_size, status.st_mtime_ns, signed_inode(status)) != self.stamp:
                raise ShardChangedError("the shard is not the one that was listed")
            data = os.pread(descriptor, size, int(self.offsets[at]))
        if len(data) < size:
            raise ShardChangedError("the shard ends early")
        return (size, *stamps_of(status)[1:]), data

    def row(self, below: str) -> int | None:
        """Where a member stands in the columns."""
        key = np.uint64(member_key(below))
        at = int(np.searchsorted(self.keys, key))
        return at if at < len(self.keys) and self.keys[at] == key else None


def member_key(name: str) -> int:
    """The number that a member's name is found by."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


class _Handles:
    """The tar files this process has open. Reads name their place in the file, so forks may share them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: OrderedDict[str, int] = OrderedDict()

    def get(self, file: str) -> tuple[int, os.stat_result]:
        """A descriptor, and the state of the file as it is now under this descriptor."""
        descriptor = self.open.get(file)
        if descriptor is None:
            descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            while len(self.open) >= MAX_OPEN_SHARDS:
                os.close(self.open.popitem(last=False)[1])
            self.open[file] = descriptor
        self.open.move_to_end(file)
        status = os.fstat(descriptor)
        if not status.st_nlink:  # replaced or removed: the name tells of today
            del self.open[file]
            os.close(descriptor)
            return self.get(file)
        return descriptor, status

    def renew_lock(self) -> None:
        """In a fork: another thread may have held it."""
        self.lock = threading.Lock()


_handles = _Handles()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_handles.renew_lock)

Place = FolderPlace | ShardPlace


@dataclass(frozen=True, slots=True)
class Places:
    """Where the photos of a catalog are. Small: it is handed to every process that reads.

    ``origin`` are the real paths of what the user named: what a cache of these photos is known by, and where
    nothing may be written.
    """

    places: tuple[Place, ...]
    origin: tuple[str, ...] = ()
    _by_prefix: dict[str, Place] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_prefix", {place.prefix: place for place in self.places})

    @classmethod
    def folder(cls, root: Path | str) -> Places:
        """The files below one folder."""
        real = os.path.realpath(root)
        return cls((FolderPlace("", real),), (real,))

    @classmethod
    def loose(cls) -> Places:
        """Files that were named one by one, by any path."""
        return cls((FolderPlace("", ""),))

    def read(self, path: str) -> tuple[Stamps, bytes]:
        """(stamps, content) of a photo.

        Raises:
            OSError: it is not there or cannot be read.
            OutsideError: it leads outside its root (id S4).
            BadPhotoError: it has more bytes than a photo (id D4).
        """
        place = self._place_of(path)
        if place is None:
            raise FileNotFoundError(errno.ENOENT, "no such place", path)
        return place.read(path[len(place.prefix) :], path)

    def _place_of(self, path: str) -> Place | None:
        """The place with the longest prefix that fits."""
        at = len(path) if len(self._by_prefix) > 1 or "" not in self._by_prefix else 0
        while (at := path.rfind("/", 0, at)) >= 0:
            place = self._by_prefix.get(path[: at + 1])
            if place is not None:
                return place
        return self._by_prefix.get("")

    def check(self, paths: Sequence[str], digests: Iterable[bytes]) -> None:
        """Compare what was read with what the list beside a shard promises; b"" was not read.

        Raises:
            DataError: the first photo that is another (id D20).
        """
        if not any(isinstance(place, ShardPlace) and place.digests is not None for place in self.places):
            return
        wrong = [
            path for path, digest in zip(paths, digests, strict=True) if digest != self._promised(path, digest)
        ]
        if wrong:
            more = f" ({len(wrong):,} such photos)" if len(wrong) > 1 else ""
            what = f"{shown(wrong[0])} is not what was packed: another sha256 than in index.csv{more}"
            raise DataError(what, "copy the shard again", id="D20", files=tuple(wrong))

    def _promised(self, path: str, otherwise: bytes) -> bytes:
        place = self._place_of(path)
        if not isinstance(place, ShardPlace) or place.digests is None:
            return otherwise
        at = place.row(path[len(place.prefix) :])
        return otherwise if at is None else place.digests[at].tobytes()

    def holds(self, path: Path) -> bool:
        """Whether a path lies in, or is, one of the folders and files the photos come from."""
        real = Path(os.path.realpath(path))
        return any(real == Path(place) or Path(place) in real.parents for place in self.origin)
