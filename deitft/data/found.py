"""Found: photos of one thing the user named, in columns and in any order; ``scan`` makes a catalog of it."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import normal
from deitft.data.places import Place
from deitft.errors import Notice

UNLABELLED = -1
NO_LABEL = ""
"""In the place of a class's name: nobody says what it is."""

Labels = Literal["all", "held out", "none"]
"""Whose labels are looked at: everybody's, and each photo must have one; those of val and test, where there are
some; nobody's.
"""


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """What gives photos their class: the side it stands on, the class's name (NFC), where it is, for messages."""

    split: int
    name: str
    path: str


@dataclass(slots=True, kw_only=True)
class Found:
    """N photos. ``owners`` says which of ``folders`` each belongs to, UNLABELLED for none."""

    paths: list[str]
    numbers: npt.NDArray[np.int64]  # [N, 4] bytes, content and entry changed (ns), inode
    owners: npt.NDArray[np.int64]  # [N]
    folders: list[ClassFolder]
    places: tuple[Place, ...]
    origin: tuple[str, ...]  # real paths of what was named
    groups: list[str] | None = None  # [N]
    ignored: list[tuple[str, str]] = field(default_factory=list)  # (path, kind)
    notices: list[Notice] = field(default_factory=list)
    deeper: str = ""  # a folder that has what looks like the real class folders


def joined(parts: Sequence[Found]) -> Found:
    """Several as one. Places that two of them share stand there once."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.folders) for part in parts)])
    owners = [
        np.where(part.owners < 0, UNLABELLED, part.owners + start)
        for part, start in zip(parts, starts[:-1], strict=True)
    ]
    groups: list[str] | None = None
    if any(part.groups is not None for part in parts):
        groups = [name for part in parts for name in part.groups or [""] * len(part.paths)]
    return Found(
        paths=[path for part in parts for path in part.paths],
        numbers=np.concatenate([part.numbers for part in parts]),
        owners=np.concatenate(owners),
        folders=[folder for part in parts for folder in part.folders],
        places=tuple({place.prefix: place for part in parts for place in part.places}.values()),
        origin=tuple(dict.fromkeys(path for part in parts for path in part.origin)),
        groups=groups,
        ignored=[entry for part in parts for entry in part.ignored],
        notices=[notice for part in parts for notice in part.notices],
    )


def in_order(found: Found) -> Found:
    """The same photos in the order of their paths, by the code points of their composed form."""
    paths = found.paths
    ascii_only = "".join(paths).isascii()
    if ascii_only and all(map(operator.le, paths, itertools.islice(paths, 1, None))):
        return found  # as a walk finds flat class folders: a million are not copied for nothing
    key = paths.__getitem__ if ascii_only else lambda row: (normal(paths[row]), paths[row])
    rows = sorted(range(len(paths)), key=key)
    order = np.array(rows, np.int64)
    return replace(
        found,
        paths=[paths[row] for row in rows],
        numbers=found.numbers[order],
        owners=found.owners[order],
        groups=None if found.groups is None else [found.groups[row] for row in rows],
    )
