"""What the user named -> Catalog: which photos there are, in which class, on which side. ``inspect`` reads them.

Folders (``folders``), tables (``manifest``), tar shards (``shards``), one or several. A photo's path begins with
its root's name where there are several roots. The order of photos and classes is that of their names' code points
(NFC): the same on every machine.
"""

from __future__ import annotations

import itertools
import operator
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deitft.core.progress import Progress, Task
from deitft.data.catalog import NONE, SPLIT_NAMES, TEST, TRAIN, VAL, Catalog, normal, object_column, shown
from deitft.data.digests import Digests
from deitft.data.folders import SPLIT_SPELLINGS, Layout, find_in_folders, no_photos
from deitft.data.found import NO_LABEL, UNLABELLED, ClassFolder, Found, Labels, in_order, joined
from deitft.data.groups import by_expression, is_column
from deitft.data.manifest import TABLES, Table, find_in_table
from deitft.data.names import check_decodable
from deitft.data.places import FolderPlace, Place, Places
from deitft.data.shards import TAR, ShardFiles, find_in_shards, shards_in
from deitft.data.source import Source
from deitft.data.tar_members import compression_of
from deitft.data.walk import Walker, ignored_notices, loop_notices
from deitft.errors import DataError, MissingInputError, Notice, UsageError

__all__ = ["SPLIT_SPELLINGS", "Listing", "Source", "list_photos", "scan"]

ModelClasses = tuple[str, ...] | Callable[[Sequence[str]], tuple[str, ...]]


def scan(
    data: Path | str | Source,
    *,
    progress: Progress,
    classes: ModelClasses | None = None,
    labelled: bool = True,
    cache_dir: Path | None = None,
) -> Catalog:
    """List photos with their labels. No photo is opened, nothing is written beside them.

    ``classes`` are those of a finished model, in its order: labels are matched to them by name, and need not
    have all of them, nor a train side; or a function that gives them for the names that are there, where a class
    may be called in several ways. Not ``labelled``: the photos have no labels; nothing is taken for one but in a
    val or test that the user gave, where names are those of ``classes``. ``cache_dir`` keeps the indices of tar
    shards.

    Raises:
        MissingInputError: nothing there, or no photos in it (id D1); a shard is missing (D20).
        DataError: one class only, or photos without classes (D1); class names that clash or are not UTF-8 (D21);
            a class that only val or test has, or val and test without train (D9); a link or a row that leaves
            the root (S4); folders that can be read in two ways (LAYOUT); a table's rows (D19); a torn shard
            (D20) or a hostile one (S3).
        StorageError: a folder cannot be read (D1).
    """
    source = Source.of(data)
    asked = str(source)
    items = _items(source)
    with progress.task("Listing photos", unit="photos") as task:
        walk = _Looking(
            _prefixes(items),
            (classes is None or not labelled) and len(items) == 1,
            "all" if labelled else "held out",
            source.nested,
            _column(source, items),
            cache_dir,
            task,
        )
        found = joined([walk.at(item) for item in items])
    check_decodable(found.paths)
    if source.group_by is not None and not is_column(source.group_by):
        found.groups = by_expression(found.paths, source.group_by)
    folders = [found.folders[index] for index in np.unique(found.owners).tolist()]
    if not labelled:
        names = classes if isinstance(classes, tuple) else ()
        found.notices += _held_out(folders, names, asked)
    else:
        names = _classes(folders, found, asked) if classes is None else _of_model(folders, classes)
    notices = [*found.notices, *(_missing_notices(folders, names) if classes is None else [])]
    found = in_order(found)
    _check_once(found.paths, asked)
    return _catalog(source, found, names, notices)


def _catalog(source: Source, found: Found, names: tuple[str, ...], notices: list[Notice]) -> Catalog:
    """Photos in their order, with the classes of these ``names``; their content is not known yet."""
    ignored, count = tuple(sorted(found.ignored)), len(found.paths)
    number_of = {name: index for index, name in enumerate(names)}
    labels = np.array([number_of.get(folder.name, -1) for folder in found.folders], np.int32)
    sides = np.array([folder.split for folder in found.folders], np.int8)
    return Catalog(
        root=source.paths[0].absolute(),
        classes=names,
        paths=found.paths,
        labels=labels[found.owners],
        given=sides[found.owners],
        sizes=found.numbers[:, 0],
        stamps=found.numbers[:, 1:],
        digests=Digests.none(count),
        widths=np.zeros(count, np.int32),
        heights=np.zeros(count, np.int32),
        notes=np.zeros(count, np.uint16),
        ignored=ignored,
        notices=(*notices, *ignored_notices(ignored)),
        groups=None if found.groups is None else object_column(found.groups),
        places=Places(found.places, found.origin),
    )


@dataclass(frozen=True, slots=True)
class _Item:
    """One thing that was named: of which kind, and the folders its paths begin at."""

    kind: str  # "folder", "table", "shards"
    path: Path
    roots: tuple[Path, ...]
    shards: ShardFiles | None = None


def _items(source: Source) -> list[_Item]:
    items = [_item(path, source.roots) for path in source.paths]
    if source.roots and not any(item.kind == "table" for item in items):
        raise UsageError("--root is for tables of photos (CSV, Parquet)", "leave it out", id="USAGE")
    for root in source.roots:
        _mode(root)
    return items


def _column(source: Source, items: Sequence[_Item]) -> str | None:
    """The column of groups that was asked for: every table must have it."""
    if source.group_by is None or not is_column(source.group_by):
        return None
    if not all(item.kind == "table" for item in items):
        what = f'--group-by: "{source.group_by}" would be a column of a table (CSV, Parquet)'
        raise UsageError(what, r"for folders write an expression on file names, as in '^(\d+)_'", id="GROUPS")
    return source.group_by


def _item(path: Path, roots: tuple[Path, ...]) -> _Item:
    asked = os.fspath(path)
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        shards = shards_in(asked)
        return _Item("folder" if shards is None else "shards", path, (path,), shards)
    kind = path.suffix.lower()
    if stat.S_ISREG(mode) and kind in TABLES:
        return _Item("table", path, roots or (path.parent,))
    if stat.S_ISREG(mode) and kind == TAR:
        return _Item("shards", path, (path.parent,), ShardFiles(os.fspath(path.parent), (path.name,), False))
    with path.open("rb") if stat.S_ISREG(mode) else open(os.devnull, "rb") as file:  # noqa: PTH123 - never a pipe
        archive = compression_of(file.read(8))
    if archive:
        what = f"{shown(asked)} is a compressed archive ({archive}): single photos of it cannot be read"
        hint = "unpack it, or pack its photos as a plain tar (`deitft pack`)"
        raise DataError(what, hint, id="D20", files=(asked,))
    if kind in (".tsv", ".txt", ".xls", ".xlsx", ".json", ".jsonl"):
        what = f"{shown(asked)} is not a table that can be read"
        raise DataError(what, "save it as CSV or Parquet", id="D19", files=(asked,))
    raise MissingInputError(f"not a folder: {shown(asked)}", "check the path", id="D1", files=(asked,))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        kind = "file" if path.suffix.lower() in (*TABLES, TAR) else "folder"
        what = f"no such {kind}: {shown(str(path))}"
        raise MissingInputError(what, "check the path", id="D1", files=(str(path),)) from error


def _prefixes(items: Sequence[_Item]) -> dict[str, str]:
    """How paths below each root begin: "" where there is one root, else with its name."""
    reals = list(dict.fromkeys(os.path.realpath(root) for item in items for root in item.roots))
    if len(reals) == 1:
        return {reals[0]: ""}
    found: dict[str, str] = {}
    for real in reals:
        name, number = normal(os.path.basename(real)) or "root", 1  # noqa: PTH119 - strings
        while f"{name}/" in found.values():
            number += 1
            name = f"{normal(os.path.basename(real))}-{number}"  # noqa: PTH119
        found[real] = f"{name}/"
    return found


@dataclass(frozen=True, slots=True)
class _Looking:
    """How things that were named are looked at."""

    prefixes: dict[str, str]
    need_train: bool
    labels: Labels
    nested: bool
    column: str | None
    cache_dir: Path | None
    task: Task

    def at(self, item: _Item) -> Found:
        """The photos of one thing. ``need_train`` holds of all together: a lone val folder is one of several."""
        prefix = self.prefixes[os.path.realpath(item.roots[0])]
        if item.kind == "table":
            roots = tuple((self.prefixes[os.path.realpath(root)], os.path.realpath(root)) for root in item.roots)
            table = Table(item.path, roots, " and ".join(str(root) for root in item.roots))
            return find_in_table(
                table, labels=self.labels, group_by=self.column, cache_dir=self.cache_dir, task=self.task
            )
        if item.shards is not None:
            return find_in_shards(
                item.shards,
                prefix,
                need_train=self.need_train,
                labels=self.labels,
                cache_dir=self.cache_dir,
                task=self.task,
            )
        return find_in_folders(
            str(item.path), prefix, Layout(self.nested, self.need_train, self.labels), self.task
        )


def _classes(full: list[ClassFolder], found: Found, asked: str) -> tuple[str, ...]:
    """Class names in their order; train decides where there are splits."""
    known = sorted({folder.name for folder in full if folder.split in (NONE, TRAIN)})
    if not known:
        raise no_photos(f"{asked}/train")
    unknown = [folder for folder in full if folder.name not in known]
    if unknown:
        first = min(unknown, key=lambda folder: (folder.split, folder.name))
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        side = SPLIT_NAMES[first.split]
        raise DataError(
            f'{side} has a class the model does not know: "{shown(first.name)}"{more}',
            f"add it to train or remove {shown(first.path)}",
            id="D9",
            files=[folder.path for folder in unknown],
        )
    if len(known) == 1:
        text = f'only one class ("{shown(known[0])}")'
        inner = f"; did you mean {found.deeper}?" if found.deeper else ""
        raise DataError(text, f"a classifier needs at least two class folders{inner}", id="D1")
    return tuple(known)


def _of_model(full: list[ClassFolder], known: ModelClasses) -> tuple[str, ...]:
    """The model's classes, if every photo is of one of them."""
    classes = known if isinstance(known, tuple) else known(sorted({folder.name for folder in full}))
    unknown = sorted({folder.name for folder in full if folder.name not in classes})
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise DataError(
            f'the photos have a class the model does not know: "{shown(unknown[0])}"{more}',
            "leave its photos out, or train with them",
            id="D9",
            files=[folder.path for folder in full if folder.name in unknown],
        )
    return classes


def _held_out(full: list[ClassFolder], classes: tuple[str, ...], asked: str) -> list[Notice]:
    """Whether names in val and test are labels: all are classes, or none is.

    Raises:
        MissingInputError: nothing to learn from.
        DataError: some are classes and some are not (D9).
    """
    if not any(folder.split in (NONE, TRAIN) for folder in full):
        raise no_photos(f"{asked}/train")
    named = [folder for folder in full if folder.name != NO_LABEL]
    if any(folder.name in classes for folder in named):
        _of_model(named, classes)
        return []
    if not named:
        return []
    text = f'folders of {shown(asked)}, as "{shown(named[0].path)}", are not named as the teacher\'s classes'
    return [Notice(id="D9", severity="warning", text=text, hint="they are not taken for labels")]


def _missing_notices(full: list[ClassFolder], classes: tuple[str, ...]) -> list[Notice]:
    """Classes of train that a given val or test has no photos of (fault D9)."""
    notices = []
    for side in (VAL, TEST):
        there = {folder.name for folder in full if folder.split == side}
        missing = [name for name in classes if name not in there]
        if not there or not missing:
            continue
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        rows = "their rows show" if more else "its row shows"
        notices.append(
            Notice(
                id="D9",
                severity="warning",
                text=f'{SPLIT_NAMES[side]} has no photos of "{shown(missing[0])}"{more}',
                hint=f"{rows} n/a and macro averages use {len(there)} of {len(classes)} classes",
                details={"split": SPLIT_NAMES[side], "classes": missing},
            )
        )
    return notices


def _check_once(paths: list[str], asked: str) -> None:
    """Refuse a photo that was named twice; ``paths`` are in order."""
    twice = next(itertools.compress(paths, map(operator.eq, paths, itertools.islice(paths, 1, None))), None)
    if twice is not None:
        text = f"{shown(twice)} is named by two of {shown(asked)}"
        raise DataError(text, "name each photo once", id="D19", files=(twice,))


@dataclass(frozen=True, slots=True)
class Listing:
    """Photos to predict, as paths a person knows, and where they are. ``named``: those named one by one."""

    paths: list[str]
    places: Places
    named: frozenset[str]

    def __len__(self) -> int:
        return len(self.paths)


def list_photos(paths: Sequence[Path], *, progress: Progress, cache_dir: Path | None = None) -> Listing:
    """Photos to predict, labels or not: files as they are named, folders walked (sorted, junk left out), shards
    and tables listed. Each path once.

    Raises:
        MissingInputError: a path is not there, or there is no photo at all (id D1).
        DataError: a link leaves its folder (S4); a name that is not UTF-8 (D21); a table (D19), a shard (D20, S3).
    """
    found: dict[str, None] = {}
    places: dict[str, Place] = {"": FolderPlace("", "")}  # for files named one by one
    named: set[str] = set()
    origin: list[str] = []
    with progress.task("Listing photos", unit="photos") as task:
        for path in paths:
            if not path.exists():
                raise MissingInputError(f"no such file or folder: {shown(str(path))}", id="D1", files=(str(path),))
            part = _photos_at(path, progress, cache_dir, task)
            if part is None:
                found[str(path)] = None
                named.add(str(path))
                task.advance(1)
                continue
            found |= dict.fromkeys(part.paths)
            places |= {place.prefix: place for place in part.places if place.prefix}
            origin += part.origin
    if not found:
        raise no_photos(", ".join(str(path) for path in paths))
    return Listing(list(found), Places(tuple(places.values()), tuple(origin)), frozenset(named))


def _photos_at(path: Path, progress: Progress, cache_dir: Path | None, task: Task) -> Found | None:
    """The photos of one path, sorted, their labels not looked at; None where it is itself a photo."""
    start = "" if str(path) == "." else str(path).rstrip("/") + "/"
    if path.is_dir() and shards_in(str(path)) is None:
        return _below(path, start, progress, task)
    if not path.is_dir() and path.suffix.lower() not in (*TABLES, TAR):
        return None
    item = _item(path, ())
    root = os.path.realpath(item.roots[0])
    parent = str(item.roots[0])
    looking = _Looking(
        {root: "" if parent == "." else parent.rstrip("/") + "/"}, False, "none", False, None, cache_dir, task
    )
    found = looking.at(item)
    for notice in ignored_notices(sorted(found.ignored), listed=False):
        progress.warn(notice)
    return found if item.kind == "table" else in_order(found)


def _below(folder: Path, prefix: str, progress: Progress, task: Task) -> Found:
    walker = Walker(str(folder))
    task.advance(walker.walk(""))
    for _, count in walker.follow_links():
        task.advance(count)
    check_decodable(walker.photos.paths)
    for notice in (*ignored_notices(sorted(walker.ignored), listed=False), *loop_notices(walker.met_twice)):
        progress.warn(notice)
    real = os.path.realpath(folder)
    found = Found(
        paths=[prefix + path for path in walker.photos.paths],
        numbers=walker.photos.table(),
        owners=np.full(len(walker.photos.paths), UNLABELLED, np.int64),
        folders=[],
        places=(FolderPlace(prefix, real),),
        origin=(real,),
    )
    return in_order(found)
