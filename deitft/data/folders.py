"""Folders of photos -> Found: class folders, or split folders with class folders inside.

*Class folders* lie directly below the root; photos at any depth below belong to the class on top, or, ``nested``,
to the class of all folders on the way, joined with "/". *Split folders* (train, val, test in any usual spelling)
hold class folders: where a folder train holds more folders than photos of its own, and every other folder is a
split's. A root with split folders and another folder beside them is refused rather than guessed at, and so is one
with val and test but no train. Where photos have no labels, all below the root, or below train, are one lot; val
and test may hold class folders.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deitft.core.progress import Task
from deitft.data.catalog import NONE, TEST, TRAIN, VAL, normal, shown
from deitft.data.formats import FORMAT_NAMES
from deitft.data.found import NO_LABEL, ClassFolder, Found, Labels
from deitft.data.names import check_class_names
from deitft.data.places import FolderPlace
from deitft.data.walk import OUTSIDE, Walker, loop_notices
from deitft.data.walk_apart import walk_folders
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
"""What a split may be called, in lower case."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How folders are to be read. ``need_train``: false for photos that a finished model is measured on."""

    nested: bool
    need_train: bool
    labels: Labels = "all"


def find_in_folders(asked: str, prefix: str, layout: Layout, task: Task) -> Found:
    """The photos below the class folders of ``asked``; their paths begin with ``prefix``. No photo is opened.

    Raises:
        MissingInputError, DataError: see ``scan``.
    """
    walker = Walker(asked)
    find = _lots if layout.labels == "held out" else _class_folders
    folders = find(walker, asked, need_train=layout.need_train)
    check_class_names([(folder.split, folder.path.rpartition("/")[2]) for folder in folders if folder.name])
    owners = _list(walker, folders, task)
    full = [folders[index] for index in np.unique(owners).tolist()]
    if not full:
        raise _nothing(asked, walker)
    # Unpacked one folder too deep is the usual reason for one class alone.
    deeper = f"{shown(asked)}/{shown(full[0].path)}" if len(walker.folders(full[0].path)) > 1 else ""
    notices = [
        _empty_notice(folder)
        for folder in folders
        if folder not in full and folder.name and folder.split in (NONE, TRAIN)
    ] + loop_notices(walker.met_twice)
    if layout.nested:
        folders, owners = _by_every_folder(walker, folders, owners)
    listed = walker.photos
    real = os.path.realpath(asked)
    return Found(
        paths=[prefix + path for path in listed.paths] if prefix else listed.paths,
        numbers=listed.table(),
        owners=owners,
        folders=folders,
        places=(FolderPlace(prefix, real),),
        origin=(real,),
        ignored=[(prefix + path, kind) for path, kind in walker.ignored],
        notices=notices,
        deeper=deeper,
    )


def no_photos(where: str) -> MissingInputError:
    """The error of a folder without photos."""
    text = f"no photos found under {shown(where)} (looked for {FORMAT_NAMES})"
    return MissingInputError(text, id="D1", files=(where,))


def _nothing(asked: str, walker: Walker) -> DeitftError:
    if not walker.count_photos(""):
        return no_photos(asked)
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
    others = [shown(name) for name in names if name not in splits]
    if not is_split_layout(splits, others, asked, need_train=need_train, kind="folder"):
        return [ClassFolder(NONE, normal(name), name) for name in names]
    folders = []
    for name, side in splits.items():
        walker.note_loose(name, OUTSIDE)
        folders += [ClassFolder(side, normal(label), f"{name}/{label}") for label in walker.folders(name)]
    return folders


def _lots(walker: Walker, asked: str, *, need_train: bool) -> list[ClassFolder]:
    """The same of photos without labels: the root, or its split folders; in val and test the class folders."""
    names = walker.folders()
    splits = {name: side for name in names if (side := SPLIT_SPELLINGS.get(name.strip().lower())) is not None}
    others = [shown(name) for name in names if name not in splits]
    if not is_split_layout(splits, others, asked, need_train=need_train, kind="folder"):
        return [ClassFolder(NONE, NO_LABEL, "")]
    walker.note_loose("", OUTSIDE)
    lots = []
    for name, side in splits.items():
        inside = walker.folders(name) if side != TRAIN else []
        if len(inside) > walker.count_photos(name):
            walker.note_loose(name, OUTSIDE)
            lots += [ClassFolder(side, normal(label), f"{name}/{label}") for label in inside]
        else:
            lots.append(ClassFolder(side, NO_LABEL, name))
    return lots


def is_split_layout(splits: dict[str, int], others: list[str], asked: str, *, need_train: bool, kind: str) -> bool:
    """Whether these names are those of splits, and nothing else lies beside them.

    Raises:
        DataError: it can be read in two ways (LAYOUT), or has val and test but no train (D9).
    """
    listed = ", ".join(f'"{shown(name)}"' for name in splits)
    if kind == "folder" and len(set(splits.values())) < len(splits):
        text = f"{shown(asked)} has two folders for one split: {listed}"
        raise DataError(text, "merge them, or rename one", id="LAYOUT", files=tuple(splits))
    if TRAIN not in splits.values():
        if splits and not others:
            if not need_train:
                return True
            text = f"{shown(asked)} has {listed} but no train {kind}"
            hint = "add train with the same classes, or rename these if they are no splits"
            if kind == "folder":
                hint = "add train with the same class folders, or rename these if they are classes"
            raise DataError(text, hint, id="D9", files=tuple(splits))
        return False
    if others and len(splits) > 1:
        text = f'{shown(asked)} has the split {kind}s {listed} and beside them "{others[0]}"'
        hint = f'move "{others[0]}" away, or into the splits' if kind == "folder" else f'rename "{others[0]}"'
        raise DataError(text, hint, id="LAYOUT", files=tuple(others))
    return not others


def _list(walker: Walker, folders: list[ClassFolder], task: Task) -> npt.NDArray[np.int64]:
    """Walk every class folder; which folder each photo belongs to."""
    owners: list[npt.NDArray[np.int64]] = []
    for index, count in enumerate(walk_folders(walker, [folder.path for folder in folders])):
        owners.append(np.full(count, index, np.int64))
        task.advance(len(owners[-1]))
    places = {folder.path: index for index, folder in enumerate(folders)}
    for link, count in walker.follow_links():
        parts = link.split("/")
        place = next(places[path] for path in (parts[0], "/".join(parts[:2]), "") if path in places)
        owners.append(np.full(count, place, np.int64))
        task.advance(count)
    return np.concatenate([np.zeros(0, np.int64), *owners])


def _by_every_folder(
    walker: Walker, folders: list[ClassFolder], owners: npt.NDArray[np.int64]
) -> tuple[list[ClassFolder], npt.NDArray[np.int64]]:
    """Every folder that holds photos is a class of its own: shoes/boots."""
    numbers: dict[str, int] = {}
    fine: list[ClassFolder] = []
    mine = np.empty_like(owners)
    for row, (path, owner) in enumerate(zip(walker.photos.paths, owners.tolist(), strict=True)):
        top = folders[owner]
        where = path.rpartition("/")[0] if top.name else top.path
        number = numbers.get(where)
        if number is None:
            number = numbers[where] = len(fine)
            fine.append(ClassFolder(top.split, normal(top.name + where[len(top.path) :]), where))
        mine[row] = number
    check_class_names([(folder.split, folder.name) for folder in fine if folder.name])
    return fine, mine


def _empty_notice(folder: ClassFolder) -> Notice:
    text = f'class folder "{shown(folder.path)}" has no photos, no class is made of it'
    return Notice(id="D1", severity="warning", text=text, files=(folder.path,))
