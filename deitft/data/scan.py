"""Folder -> Catalog: which photos there are, in which class, on which side. Names only; ``inspect`` reads.

Two layouts. *Class folders* directly below the root; photos at any depth below a class belong to it.
*Split folders* (train, val, test in any usual spelling) with class folders inside: where a folder train holds
more folders than photos of its own, and every other folder is a split's. A root with split folders and another
folder beside them is refused rather than guessed at, and so is one with val and test but no train.
The order of photos and classes is that of their names' code points (NFC): the same on every machine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.core.progress import Progress, Task
from deitft.data.catalog import NONE, SPLIT_NAMES, TEST, TRAIN, VAL, Catalog, normal, object_column, shown
from deitft.data.formats import FORMAT_NAMES
from deitft.data.names import check_class_names, check_decodable
from deitft.data.walk import Listed, Walker, ignored_notices, loop_notices
from deitft.errors import DataError, DeitftError, MissingInputError, Notice

SPLIT_SPELLINGS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "eval": VAL,
    "dev": VAL,
    "test": TEST,
    "testing": TEST,
    "holdout": TEST,
}
"""What the folder of a split may be called, in lower case."""

OUTSIDE = "outside the class folders"


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """A folder whose photos are of one class: its side, the class's name (NFC), its path below the root."""

    split: int
    name: str
    path: str


def scan(root: Path | str, *, progress: Progress, classes: tuple[str, ...] | None = None) -> Catalog:
    """List the photos below a folder. No photo is opened, nothing is written.

    ``classes`` are those of a finished model, in its order: folders are matched to them by name, and need not
    have all of them, nor a train folder.

    Raises:
        MissingInputError: no such folder, or no photos in it (id D1).
        DataError: one class only, or photos without class folders (D1); class names that clash or are not
            UTF-8 (D21); a class that only val or test has, or val and test without train (D9); a link that
            leaves the root (S4); split folders and other folders side by side (LAYOUT).
        StorageError: a folder cannot be read (D1).
    """
    asked = os.fspath(root)
    walker = Walker(_existing_folder(asked))
    folders = _class_folders(walker, asked, need_train=classes is None)
    check_class_names([(folder.split, folder.path.rpartition("/")[2]) for folder in folders])
    with progress.task("Listing photos", unit="photos") as task:
        owners = _list(walker, folders, task)
    check_decodable(walker.photos.paths)
    counts = np.bincount(owners, minlength=len(folders)).tolist()
    full = [folder for folder, count in zip(folders, counts, strict=True) if count]
    names = _classes(full, asked, walker) if classes is None else _of_model(full, asked, walker, classes)
    notices = [_empty_notice(folder) for folder in folders if folder not in full and folder.split in (NONE, TRAIN)]
    notices += _missing_notices(full, names) if classes is None else []
    ignored = tuple(sorted(walker.ignored))
    notices += [*ignored_notices(ignored), *loop_notices(walker.met_twice)]
    return _catalog(walker, folders, owners, names, ignored, tuple(notices))


def list_photos(paths: Sequence[Path], *, progress: Progress) -> list[Path]:
    """Photos to predict: files as they are named, folders walked (sorted, junk left out). Each path once.

    Raises:
        MissingInputError: a path is not there, or there is no photo at all (id D1).
        DataError: a link leaves its folder (S4); a name that is not UTF-8 (D21).
    """
    found: dict[Path, None] = {}
    with progress.task("Listing photos", unit="photos") as task:
        for path in paths:
            before = len(found)
            if path.is_dir():
                found |= {path / name: None for name in _below(path, progress)}
            elif path.exists():
                found[path] = None
            else:
                raise MissingInputError(f"no such file or folder: {shown(str(path))}", id="D1", files=(str(path),))
            task.advance(len(found) - before)
    if not found:
        raise _no_photos(", ".join(str(path) for path in paths))
    return list(found)


def _below(folder: Path, progress: Progress) -> list[str]:
    walker = Walker(str(folder))
    walker.walk("")
    for _ in walker.follow_links():
        pass
    check_decodable(walker.photos.paths)
    for notice in (*ignored_notices(sorted(walker.ignored), listed=False), *loop_notices(walker.met_twice)):
        progress.warn(notice)
    return [walker.photos.paths[index] for index in _sorted(walker.photos.paths)]


def _existing_folder(asked: str) -> str:
    try:
        mode = Path(asked).stat().st_mode
    except OSError as error:
        raise MissingInputError(f"no such folder: {shown(asked)}", id="D1", files=(asked,)) from error
    if not stat.S_ISDIR(mode):
        raise MissingInputError(f"not a folder: {shown(asked)}", id="D1", files=(asked,))
    return str(Path(asked))


def _no_photos(where: str) -> MissingInputError:
    text = f"no photos found under {shown(where)} (looked for {FORMAT_NAMES})"
    return MissingInputError(text, id="D1", files=(where,))


def _nothing(asked: str, walker: Walker) -> DeitftError:
    if not walker.count_photos(""):
        return _no_photos(asked)
    text = f"the photos lie directly in {shown(asked)}, nothing says which class they are"
    return DataError(text, "put each class into a folder of its own", id="D1", files=(asked,))


def _class_folders(walker: Walker, asked: str, *, need_train: bool) -> list[ClassFolder]:
    """The class folders of the layout that this root has; what lies beside them is noted as ignored."""
    names = walker.folders()
    sides = {name: SPLIT_SPELLINGS.get(name.strip().lower()) for name in names}
    # A folder of such a name that holds mainly photos is a class: vehicles may be called "train".
    splits = {
        name: side
        for name, side in sides.items()
        if side is not None and len(walker.folders(name)) > walker.count_photos(name)
    }
    walker.note_loose("", OUTSIDE)
    if not _is_split_layout(splits, names, asked, need_train=need_train):
        return [ClassFolder(NONE, normal(name), name) for name in names]
    folders = []
    for name, side in splits.items():
        walker.note_loose(name, OUTSIDE)
        folders += [ClassFolder(side, normal(label), f"{name}/{label}") for label in walker.folders(name)]
    return folders


def _is_split_layout(splits: dict[str, int], names: list[str], asked: str, *, need_train: bool) -> bool:
    listed = ", ".join(f'"{shown(name)}"' for name in splits)
    others = [shown(name) for name in names if name not in splits]
    if len(set(splits.values())) < len(splits):
        text = f"{shown(asked)} has two folders for one split: {listed}"
        raise DataError(text, "merge them, or rename one", id="LAYOUT", files=tuple(splits))
    if TRAIN not in splits.values():
        if splits and not others:
            if not need_train:
                return True
            text = f"{shown(asked)} has {listed} but no train folder"
            hint = "add train with the same class folders, or rename these if they are classes"
            raise DataError(text, hint, id="D9", files=tuple(splits))
        return False
    if others and len(splits) > 1:
        text = f'{shown(asked)} has the split folders {listed} and beside them "{others[0]}"'
        raise DataError(text, f'move "{others[0]}" away, or into the splits', id="LAYOUT", files=tuple(others))
    return not others


def _list(walker: Walker, folders: list[ClassFolder], task: Task) -> npt.NDArray[np.int64]:
    """Walk every class folder; which folder each photo belongs to."""
    owners: list[npt.NDArray[np.int64]] = []
    for index, folder in enumerate(folders):
        owners.append(np.full(walker.walk(folder.path), index, np.int64))
        task.advance(len(owners[-1]))
    places = {folder.path: index for index, folder in enumerate(folders)}
    for link, count in walker.follow_links():
        parts = link.split("/")
        place = places[parts[0]] if parts[0] in places else places["/".join(parts[:2])]
        owners.append(np.full(count, place, np.int64))
        task.advance(count)
    return np.concatenate([np.zeros(0, np.int64), *owners])


def _classes(full: list[ClassFolder], asked: str, walker: Walker) -> tuple[str, ...]:
    """Class names in their order; train decides where there are splits."""
    if not full:
        raise _nothing(asked, walker)
    known = sorted({folder.name for folder in full if folder.split in (NONE, TRAIN)})
    if not known:
        raise _no_photos(f"{asked}/train")
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
        # Unpacked one folder too deep is the usual reason.
        deeper = len(walker.folders(full[0].path)) > 1
        inner = f"; did you mean {shown(asked)}/{shown(full[0].path)}?" if deeper else ""
        raise DataError(text, f"a classifier needs at least two class folders{inner}", id="D1")
    return tuple(known)


def _of_model(full: list[ClassFolder], asked: str, walker: Walker, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The model's classes, if every photo is of one of them."""
    if not full:
        raise _nothing(asked, walker)
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


def _empty_notice(folder: ClassFolder) -> Notice:
    text = f'class folder "{shown(folder.path)}" has no photos, no class is made of it'
    return Notice(id="D1", severity="warning", text=text, files=(folder.path,))


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


def _sorted(paths: list[str]) -> list[int]:
    """The order of paths by code points of their composed form."""
    if all(map(str.isascii, paths)):
        return sorted(range(len(paths)), key=paths.__getitem__)
    return sorted(range(len(paths)), key=lambda index: (normal(paths[index]), paths[index]))


def _catalog(
    walker: Walker,
    folders: list[ClassFolder],
    owners: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    ignored: tuple[tuple[str, str], ...],
    notices: tuple[Notice, ...],
) -> Catalog:
    listed: Listed = walker.photos
    count = len(listed.paths)
    order = _sorted(listed.paths)
    numbers = np.frombuffer(listed.numbers, np.int64).reshape(count, 4)[order]
    number_of = {name: index for index, name in enumerate(classes)}
    labels = np.array([number_of.get(folder.name, -1) for folder in folders], np.int32)
    sides = np.array([folder.split for folder in folders], np.int8)
    return Catalog(
        root=Path(walker.root).absolute(),
        classes=classes,
        paths=[listed.paths[index] for index in order],
        labels=labels[owners[order]],
        given=sides[owners[order]],
        sizes=numbers[:, 0].copy(),
        stamps=numbers[:, 1:].copy(),
        digests=object_column([b""] * count),
        widths=np.zeros(count, np.int32),
        heights=np.zeros(count, np.int32),
        notes=np.zeros(count, np.uint16),
        ignored=ignored,
        notices=notices,
    )
