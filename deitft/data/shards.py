"""Tar shards -> Found: a folder of them, split folders of them, or single files. Streamed, never unpacked.

The class of a sample is the text of its ``.cls``: a name, or a number that ``classes.txt`` beside the shards
names. The side of a split is in the shards' names (``train-00000.tar``) or in their folders'. Where ``index.csv``
lies beside them (``deitft pack`` writes it), shards and members must be those that it lists, byte for byte.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.core.progress import Task
from deitft.data.catalog import NONE, TEST, VAL, counted, normal, shown
from deitft.data.folders import SPLIT_SPELLINGS, is_split_layout, no_photos
from deitft.data.found import NO_LABEL, UNLABELLED, ClassFolder, Found, Labels
from deitft.data.places import ShardPlace
from deitft.data.shard_index import ShardIndex, index_of
from deitft.data.shard_list import CLASSES, INDEX, Listed, read_classes, read_list
from deitft.data.walk import file_kind, is_folder, is_junk_folder
from deitft.errors import DataError, MissingInputError

TAR = ".tar"


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """Shards of one folder: ``names`` are paths below ``base``. ``whole``: all of a folder, none may lack."""

    base: str
    names: tuple[str, ...]
    whole: bool
    ignored: tuple[tuple[str, str], ...] = ()


def shards_in(asked: str) -> ShardFiles | None:
    """The shards of a folder that holds shards, or split folders of shards, and no other folders; else None."""
    tars, folders, others = _entries(asked)
    if tars and not folders:
        return ShardFiles(asked, tuple(tars), True, tuple((name, file_kind(name)) for name in others))
    if tars or not folders or any(name.strip().lower() not in SPLIT_SPELLINGS for name in folders):
        return None
    names: list[str] = []
    ignored = [(name, file_kind(name)) for name in others]
    for folder in folders:
        inside, deeper, loose = _entries(f"{asked}/{folder}")
        if not inside or deeper:
            return None
        names += [f"{folder}/{name}" for name in inside]
        ignored += [(f"{folder}/{name}", file_kind(name)) for name in loose]
    return ShardFiles(asked, tuple(names), True, tuple(ignored))


def _entries(folder: str) -> tuple[list[str], list[str], list[str]]:
    """(shards, folders, other files) directly in a folder; junk folders are left out."""
    tars, folders, others = [], [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_folder(entry):
                if not is_junk_folder(entry.name):
                    folders.append(entry.name)
            elif entry.name.lower().endswith(TAR) and not entry.name.startswith(".") and entry.is_file():
                tars.append(entry.name)
            elif entry.name not in (CLASSES, INDEX):
                others.append(entry.name)
    return sorted(tars), sorted(folders), sorted(others)


def find_in_shards(
    files: ShardFiles, prefix: str, *, need_train: bool, labels: Labels, cache_dir: Path | None, task: Task
) -> Found:
    """The photos of shards; their paths are ``prefix``, the shard's name, the member's name.

    ``labels``: of whom a class is needed, or used. ``cache_dir`` keeps the shards' indices.

    Raises:
        DataError: torn, damaged, incomplete, or another than ``index.csv`` lists (D20); hostile (S3); a link to
            a shard outside the folder (S4).
        MissingInputError: a shard is not there (D20); no photos (D1).
    """
    listed = read_list(files.base)
    _check_complete(files, listed)
    sides = _sides(files, need_train=need_train)
    classes = read_classes(files.base)
    paths: list[str] = []
    numbers: list[npt.NDArray[np.int64]] = []
    places: list[ShardPlace] = []
    ignored = [(prefix + name, kind) for name, kind in files.ignored]
    owners = _Owners(classes, labels)
    for name, side in zip(files.names, sides, strict=True):  # one index at a time: there may be a million photos
        index, place = open_shard(files, name, prefix, listed, cache_dir)
        task.advance(len(index.names))
        paths += [place.prefix + member for member in index.names]
        numbers.append(_numbers(index))
        owners.add(name, side, index)
        ignored += [(place.prefix + member, kind) for member, kind in index.ignored]
        places.append(place)
    if not paths:
        raise no_photos(files.base)
    groups: list[str] | None = None
    if listed is not None and listed.has_groups:
        groups = [text for name in files.names for text in listed.shards[name].groups]
    return Found(
        paths=paths,
        numbers=np.concatenate(numbers),
        owners=np.frombuffer(owners.found, np.int64),
        folders=owners.folders,
        places=tuple(places),
        origin=tuple(_real(files)),
        groups=groups,
        ignored=ignored,
    )


def place_of(
    file: str, prefix: str, index: ShardIndex, digests: npt.NDArray[np.uint8] | None = None
) -> ShardPlace:
    """Where the photos of an index are read."""
    size, changed, _, inode = index.stamps
    stamp = (size, changed, inode)
    return ShardPlace.of(prefix, os.path.realpath(file), stamp, index.names, index.offsets, index.sizes, digests)


def _real(files: ShardFiles) -> Iterable[str]:
    if files.whole:
        return [os.path.realpath(files.base)]
    return [os.path.realpath(f"{files.base}/{name}") for name in files.names]


def _numbers(index: ShardIndex) -> npt.NDArray[np.int64]:
    """[N, 4] bytes of each member; the rest is the shard's: where it changes, all of it is read again."""
    numbers = np.tile(np.array(index.stamps, np.int64), (len(index.names), 1))
    numbers[:, 0] = index.sizes
    return numbers


def open_shard(
    files: ShardFiles, name: str, prefix: str, listed: Listed | None, cache_dir: Path | None
) -> tuple[ShardIndex, ShardPlace]:
    """One shard's index, and its place; compared with what is ``listed`` of it.

    Raises:
        DataError, MissingInputError: see ``find_in_shards``.
    """
    file, shard = f"{files.base}/{name}", shown(f"{prefix}{name}")
    promised = None if listed is None else listed.shards.get(name)
    if files.whole:
        _confine(file, files.base, shard)
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # noqa: PTH116 - strings, as in all of the scan
            raise DataError(f"{shard} is not a file", "remove it", id="D20", files=(shard,))
        index = index_of(file, shard, cache_dir)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise MissingInputError(f"cannot read {shard} ({reason})", "check it", id="D20", files=(shard,)) from error
    except DataError as error:
        if promised is None or error.id != "D20":
            raise
        what = f"{error.what} ({INDEX} lists {counted(len(promised.names), 'photo')})"
        raise DataError(what, error.hint, id="D20", files=error.files) from error
    if promised is not None and (promised.names, promised.sizes) != (index.names, index.sizes.tolist()):
        there = len(set(promised.names) & set(index.names))
        what = f"{shard} is not the one that {INDEX} lists: {there:,} of {len(promised.names):,} photos are there"
        what += "" if there < len(promised.names) else ", but not all of the same size"
        raise DataError(what, "copy it again", id="D20", files=(shard,))
    return index, place_of(file, f"{prefix}{name}/", index, None if promised is None else promised.digest_table())


def _confine(file: str, base: str, shard: str) -> None:
    if not os.path.realpath(file).startswith(os.path.realpath(base).rstrip("/") + "/"):
        raise DataError(
            f"{shard} is a link to a place outside {shown(base)}",
            "copy what it points to into the folder, or remove the link",
            id="S4",
            files=(shard,),
        )


_NUMBERED = re.compile(r"(.*?)(\d+)(?:-of-(\d+))?", re.DOTALL)


def _check_complete(files: ShardFiles, listed: Listed | None) -> None:
    """Every shard that ``index.csv`` lists is there and no other; without it, no number of a row is left out."""
    names = set(files.names)
    if listed is not None:
        strange = sorted(names - listed.shards.keys())
        if strange:
            text = f"{shown(strange[0])} is not in {INDEX} beside it"
            raise DataError(text, f"pack again, or remove {INDEX}", id="D20", files=tuple(strange))
    if not files.whole:
        return
    expected = set(listed.shards) if listed is not None else _row(names)
    missing = sorted(expected - names)
    if missing:
        shards = ", ".join(map(shown, missing[:3])) + (f" and {len(missing) - 3} more" if missing[3:] else "")
        raise MissingInputError(
            f"{shown(files.base)} has {len(names)} of {len(names) + len(missing)} shards, not {shards}",
            "copy what is missing, or name the shards to use one by one",
            id="D20",
            files=tuple(missing),
        )


def _row(names: set[str]) -> set[str]:
    """The names that numbered shards must have so that none lacks between the first and the last."""
    found: set[str] = set()
    rows: dict[tuple[str, str, int], list[int]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name[: -len(TAR)])
        if match is None:
            continue
        start, number, total = match.groups()
        rows.setdefault((start, total or "", len(number)), []).append(int(number))
    for (start, total, width), numbers in rows.items():
        first, last = min(numbers), max(numbers)
        if total:
            first, last = min(first, 1), int(total) - (0 in numbers)
        if last - first < 10 * len(numbers) + 100:  # else these are dates, not a row
            end = f"-of-{total}" if total else ""
            found |= {f"{start}{number:0{width}d}{end}{TAR}" for number in range(first, last + 1)}
    return found


def _sides(files: ShardFiles, *, need_train: bool) -> list[int]:
    """The side of each shard, by its folder or the first word of its name."""
    words = [re.split(r"[^A-Za-z]", name, maxsplit=1)[0].lower() for name in files.names]
    splits = {word: SPLIT_SPELLINGS[word] for word in words if word in SPLIT_SPELLINGS}
    others = [shown(name) for name, word in zip(files.names, words, strict=True) if word not in splits]
    if not is_split_layout(splits, others, files.base, need_train=need_train, kind="shard"):
        return [NONE] * len(words)
    return [splits[word] for word in words]


class _Owners:
    """What stands in the place of class folders, and which of them each sample belongs to."""

    def __init__(self, classes: tuple[str, ...] | None, labels: Labels) -> None:
        self.classes, self.labels = classes, labels
        self.folders: list[ClassFolder] = []
        self.found = array("q")
        self._numbers: dict[tuple[int, str], int] = {}

    def add(self, shard: str, side: int, index: ShardIndex) -> None:
        """The samples of one shard more."""
        if self.labels == "none":
            self.found.extend(itertools.repeat(UNLABELLED, len(index.names)))
            return
        of_text: dict[str | None, int] = {}
        told = self.labels == "all" or side in (VAL, TEST)
        for text, member in zip(index.labels, index.names, strict=True):
            number = of_text.get(text)
            if number is None:
                silent = not told or (text is None and self.labels == "held out")
                label = NO_LABEL if silent else _class_of(text, self.classes, shard, member, index)
                number = of_text[text] = self._numbers.setdefault((side, label), len(self.folders))
                if number == len(self.folders):
                    self.folders.append(ClassFolder(side, label, f"its photos from {shard}"))
            self.found.append(number)


def _class_of(
    text: str | None, classes: tuple[str, ...] | None, shard: str, member: str, index: ShardIndex
) -> str:
    if text is None:
        count = index.labels.count(None)
        more = f" ({count:,} such photos)" if count > 1 else ""
        stem = member.rpartition("/")[2].partition(".")[0]
        what = f'{shown(shard)}: photo "{shown(member)}" has no class, no "{shown(stem)}.cls"{more}'
        raise DataError(what, "pack it again with its classes", id="D20", files=(shard,))
    if classes is None:
        return normal(text)
    if text.isascii() and text.isdigit() and int(text) < len(classes):
        return classes[int(text)]
    if normal(text) in classes:
        return normal(text)
    what = f'{shown(shard)}: photo "{shown(member)}" is of class "{shown(text)}", which {CLASSES} does not have'
    raise DataError(what, f"complete {CLASSES}, or remove it", id="D20", files=(shard,))
