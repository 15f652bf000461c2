"""Which photo files lie below a folder: regular files only, every real folder once, nothing outside.

No file is opened but those without an extension, and of these only the first bytes. A pipe, a socket or a
device is never opened. Junk that other programs leave is named, not read.
"""

from __future__ import annotations

import collections
import contextlib
import operator
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import counted, shown
from deitft.data.formats import FORMAT_OF_EXTENSION, SNIFFED_BYTES, sniff
from deitft.errors import DataError, Notice, StorageError

JUNK_FOLDERS = frozenset({"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "__pycache__"})
"""Folders of other programs, in lower case; those with a leading dot are left out too."""
OUTSIDE = "outside the class folders"
"""What is said of photos that lie where no class is."""
_JUNK_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_NAME = operator.attrgetter("name")
_NUMBERS = operator.attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")


@dataclass(slots=True)
class Listed:
    """Photos in columns: a path each, and four numbers (bytes, nanoseconds of content and entry, inode)."""

    paths: list[str] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def add(self, path: str, status: os.stat_result) -> None:
        """One photo more."""
        numbers: tuple[int, int, int, int] = _NUMBERS(status)
        if numbers[3] >= 2**63:
            numbers = (*numbers[:3], numbers[3] - 2**64)
        self.numbers.extend(numbers)
        self.paths.append(path)

    def table(self) -> npt.NDArray[np.int64]:
        """The numbers, [N, 4]."""
        return np.frombuffer(self.numbers, np.int64).reshape(len(self.paths), 4)


@dataclass(slots=True)
class Walker:
    """Walks below ``root`` and remembers: photos, what was ignored, which folders were met twice.

    Links to folders wait for ``follow_links``, until every real folder has been read: so a folder belongs to
    the place where it really stands, whatever the order of names.
    """

    root: str
    photos: Listed = field(default_factory=Listed)
    ignored: list[tuple[str, str]] = field(default_factory=list)  # (path, kind)
    met_twice: list[str] = field(default_factory=list)
    _real_root: str = ""
    links: list[str] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    _later: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._real_root = os.path.realpath(self.root)

    def folders(self, below: str = "") -> list[str]:
        """Names of the folders directly below, sorted; links to folders are among them, junk is not.

        Raises:
            DataError: a link leaves the root (id S4).
        """
        names = []
        with self._entries(below) as (_, entries):
            for entry in entries:
                if is_folder(entry) and not is_junk_folder(entry.name):
                    if entry.is_symlink():
                        self._confine(_join(below, entry.name))
                    names.append(entry.name)
        return sorted(names)

    def count_photos(self, below: str) -> int:
        """How many photos lie directly in a folder, by their extension."""
        with self._entries(below) as (_, entries):
            return sum(_has_photo_extension(entry.name) for entry in entries)

    def note_loose(self, below: str, photo_kind: str) -> None:
        """Note as ignored what lies directly in a folder that should hold only folders of photos.

        A link back to it leads nowhere new.
        """
        self.seen.add(self._identity(below))
        with self._entries(below) as (_, entries):
            for entry in entries:
                path = _join(below, entry.name)
                if is_folder(entry):
                    if is_junk_folder(entry.name):
                        self.ignored.append((path, f"{entry.name}/"))
                else:
                    is_photo = _has_photo_extension(entry.name)
                    self.ignored.append((path, photo_kind if is_photo else file_kind(entry.name)))

    def reserve(self, folders: Sequence[str]) -> None:
        """Folders that will be walked: met earlier inside another one (mounted there), they are passed over."""
        self._later |= {self._identity(folder) for folder in folders if self._is_real(folder)}

    def walk(self, below: str) -> int:
        """Add every photo below a folder, at any depth; how many these are. A linked folder waits.

        Raises:
            DataError: a link leaves the root (id S4).
            StorageError: a folder cannot be read (id D1).
        """
        before = len(self.photos.paths)
        if not self._is_real(below):
            self.links.append(below)
            return 0
        self._later.discard(self._identity(below))
        waiting = [below]
        while waiting:
            waiting += self._read_folder(waiting.pop())
        return len(self.photos.paths) - before

    def follow_links(self) -> Iterator[tuple[str, int]]:
        """Add the photos behind links to folders: (folder's path through the link, how many), after ``walk``."""
        while self.links:
            self.links.sort(reverse=True)
            link = self.links.pop()
            self._confine(link)
            before = len(self.photos.paths)
            self.links += self._read_folder(link)
            yield link, len(self.photos.paths) - before

    def _read_folder(self, folder: str) -> list[str]:
        """Add a folder's photos; the folders in it are returned."""
        identity = self._identity(folder)
        if identity in self.seen or identity in self._later:
            self.met_twice.append(folder)
            return []
        self.seen.add(identity)
        inside = []
        start = f"{folder}/" if folder else ""
        with self._entries(folder) as (handle, entries):
            plain, others = [], []
            for entry in entries:
                name = entry.name
                known = name[name.rfind(".") :].lower() in FORMAT_OF_EXTENSION
                if known and name[0] != "." and entry.is_file(follow_symlinks=False):
                    plain.append(name)  # what nearly all are
                else:
                    others.append(entry)
            self._add_plain(sorted(plain), start, handle)
            for entry in sorted(others, key=_NAME):
                path = start + entry.name
                if entry.is_symlink():
                    self._add_link(entry, path)
                elif not entry.is_dir():
                    self._add_file(entry.name, path, entry)
                elif is_junk_folder(entry.name):
                    self.ignored.append((path, f"{entry.name}/"))
                else:
                    inside.append(path)
        return inside

    def _is_real(self, folder: str) -> bool:
        """Whether no link leads there from the root."""
        return os.path.realpath(self._path(folder)) == _join(self._real_root, folder).rstrip("/")

    def _identity(self, folder: str) -> tuple[int, int]:
        status = os.stat(self._path(folder))  # noqa: PTH116 - strings: there may be a million paths
        return status.st_dev, status.st_ino

    def _add_link(self, entry: os.DirEntry[str], path: str) -> None:
        try:
            status = entry.stat()
        except OSError:  # it dangles, or there are too many in a row
            self.ignored.append((path, "broken link"))
            return
        if not stat.S_ISDIR(status.st_mode):
            if _may_be_photo(entry.name):
                self._confine(path)
            self._add_file(entry.name, path, entry)
        elif is_junk_folder(entry.name):
            self.ignored.append((path, f"{entry.name}/"))
        else:
            self.links.append(path)

    def _add_plain(self, names: Sequence[str], start: str, handle: int) -> None:
        """Regular files of an open folder. Asked for by their names alone: with a million of them, the way to each
        takes as long as the rest.
        """
        add, status_of = self.photos.add, os.stat
        for name in names:
            try:
                add(start + name, status_of(name, dir_fd=handle, follow_symlinks=False))
            except FileNotFoundError:  # removed since the folder was read
                continue
            except OSError as error:  # a folder that may be listed and not entered
                raise self._unreadable(start.rstrip("/"), error) from error

    def _add_file(self, name: str, path: str, entry: os.DirEntry[str]) -> None:
        try:
            status = entry.stat()
        except FileNotFoundError:  # removed since the folder was read
            return
        except OSError as error:
            raise self._unreadable(path.rpartition("/")[0], error) from error
        if not stat.S_ISREG(status.st_mode):
            self.ignored.append((path, "pipe, socket or device"))
        elif _may_be_photo(name) and (_extension(name) or self._looks_like_photo(path)):
            self.photos.add(path, status)
        else:
            self.ignored.append((path, file_kind(name)))

    def _looks_like_photo(self, path: str) -> bool:
        try:
            with open(self._path(path), "rb") as file:  # noqa: PTH123 - strings, as above
                return sniff(file.read(SNIFFED_BYTES)) is not None
        except OSError:
            return False

    def _confine(self, path: str) -> None:
        target = os.path.realpath(self._path(path))
        if target != self._real_root and not target.startswith(self._real_root.rstrip("/") + "/"):
            raise DataError(
                f"{shown(path)} is a link to a place outside {shown(self.root)}",
                "copy what it points to into the folder, or remove the link",
                id="S4",
                files=(path,),
            )

    @contextlib.contextmanager
    def _entries(self, folder: str) -> Iterator[tuple[int, list[os.DirEntry[str]]]]:
        """An open folder and what lies in it."""
        with contextlib.ExitStack() as opened:
            try:
                handle = os.open(self._path(folder), os.O_RDONLY | os.O_DIRECTORY)
                opened.callback(os.close, handle)
                with os.scandir(handle) as found:
                    entries = list(found)
            except OSError as error:
                raise self._unreadable(folder, error) from error
            yield handle, entries

    def _unreadable(self, folder: str, error: OSError) -> StorageError:
        reason = (error.strerror or str(error)).lower()
        return StorageError(
            f"cannot read the folder {shown(self._path(folder))} ({reason})",
            "make it readable, or move it away",
            id="D1",
            files=(folder,),
        )

    def _path(self, below: str) -> str:
        return _join(self.root, below) if below else self.root


def is_junk_folder(name: str) -> bool:
    """True for hidden folders and those that other programs leave among photos."""
    return name.startswith(".") or name.lower() in JUNK_FOLDERS


def ignored_notices(ignored: Sequence[tuple[str, str]], *, listed: bool = True) -> list[Notice]:
    """What lay among the photos and is not used (fault D14): photos outside the class folders, and all that is no
    photo, by kind, a line each.

    ``listed``: the verb writes a ``check.json``, which names each file.
    """
    loose = [path for path, kind in ignored if kind == OUTSIDE]
    junk = [(path, kind) for path, kind in ignored if kind != OUTSIDE]
    return [*([_loose(loose)] if loose else []), *([_junk(junk, listed=listed)] if junk else [])]


def _loose(paths: Sequence[str]) -> Notice:
    lie = "1 photo lies" if len(paths) == 1 else f"{len(paths):,} photos lie"
    used = "is not used" if len(paths) == 1 else "are not used, first"
    return Notice(
        id="D14",
        severity="warning",
        text=f"{lie} outside the class folders and {used}: {shown(paths[0])}",
        hint="move what should be learned into the folder of its class",
        files=tuple(paths),
        details={"reasons": [f"a photo {OUTSIDE}"] * len(paths)},
    )


def _junk(ignored: Sequence[tuple[str, str]], *, listed: bool) -> Notice:
    kinds = sorted(collections.Counter(kind for _, kind in ignored).items(), key=lambda item: (-item[1], item[0]))
    named = kinds if len(kinds) <= 3 else kinds[:2]
    parts = [f"{count:,} {shown(kind)}" for kind, count in named]
    rest = len(ignored) - sum(count for _, count in named)
    parts += [counted(rest, "other")] if rest else []
    what = counted(len(ignored), "file that is not a photo", "files that are not photos")
    return Notice(
        id="D14",
        severity="warning",
        text=f"ignored {what} ({', '.join(parts)}{'; list in check.json' if listed else ''})",
        files=tuple(path for path, _ in ignored),
        details={"kinds": dict(kinds), "reasons": [f"not a photo: {shown(kind)}" for _, kind in ignored]},
    )


def loop_notices(met_twice: Sequence[str]) -> list[Notice]:
    """One line for links and mounts that lead to a folder already read (fault D17)."""
    if not met_twice:
        return []
    paths = sorted(met_twice)
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return [
        Notice(
            id="D17",
            severity="warning",
            text=f"followed {shown(paths[0])}{more} back to a folder already read, ignored",
            files=tuple(paths),
        )
    ]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - strings, as above


def _has_photo_extension(name: str) -> bool:
    return not name.startswith(".") and _extension(name) in FORMAT_OF_EXTENSION


def _may_be_photo(name: str) -> bool:
    return _has_photo_extension(name) or not (name.startswith(".") or _extension(name))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """True for a folder or a link to one; false, too, where that cannot be told."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def file_kind(name: str) -> str:
    """What sort of file this is that is no photo, by its name, for a count of them."""
    if name.startswith("._"):
        return "._*"
    if name == ".DS_Store" or name.lower() in _JUNK_FILES:
        return name
    return "hidden" if name.startswith(".") else _extension(name) or "without extension"
