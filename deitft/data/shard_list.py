"""Two files that may lie beside tar shards: ``classes.txt`` and ``index.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import normal, shown
from deitft.data.csv_rows import read_csv_rows
from deitft.errors import DataError

CLASSES = "classes.txt"
"""A class's name a line; the first is number 0."""
INDEX = "index.csv"
INDEX_COLUMNS = ("shard", "member", "bytes", "sha256", "label", "group", "path")
"""A row a photo: where it is packed, what it is, and the path that it was packed from."""


@dataclass(slots=True)
class Promised:
    """The photos that a list says are in one shard."""

    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def digest_table(self) -> npt.NDArray[np.uint8]:
        """[N, 32] SHA-256 of each photo."""
        return np.frombuffer(b"".join(self.digests), np.uint8).reshape(len(self.digests), 32)


@dataclass(slots=True)
class Listed:
    """What ``index.csv`` lists, by shard."""

    shards: dict[str, Promised] = field(default_factory=dict)
    has_groups: bool = False


def read_classes(base: str) -> tuple[str, ...] | None:
    """The names in ``classes.txt``; None where there is no such file.

    Raises:
        DataError: not UTF-8, an empty line, or a name that stands there twice (id D20).
    """
    file = Path(base) / CLASSES
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DataError(f"{CLASSES} is not UTF-8", "save it as UTF-8", id="D20", files=(str(file),)) from None
    names = [normal(line.strip()) for line in text.rstrip().split("\n")]
    wrong = next((name for row, name in enumerate(names) if not name or name in names[:row]), None)
    if wrong is not None:
        what = f'{CLASSES} has "{shown(wrong)}" twice' if wrong else f"{CLASSES} has an empty line"
        raise DataError(what, "a class's name a line", id="D20", files=(str(file),))
    return tuple(names)


def read_list(base: str) -> Listed | None:
    """What ``index.csv`` lists; None where there is none, or one of other columns: that is not ours.

    Raises:
        DataError: its rows cannot be read (id D20).
    """
    file = Path(base) / INDEX
    if not file.is_file():
        return None
    rows = read_csv_rows(file, id="D20")
    header = next(rows)[1]
    if not set(INDEX_COLUMNS) <= set(header):
        return None
    places = [header.index(name) for name in INDEX_COLUMNS[:4]] + [header.index("group")]
    listed = Listed()
    for line, cells in rows:
        shard, member, size, digest, group = (cells[place] for place in places)
        promised = listed.shards.get(shard) or listed.shards.setdefault(shard, Promised())
        try:
            promised.digests.append(_digest(digest))
            promised.sizes.append(int(size))
        except ValueError:
            raise _wrong(file, line) from None
        promised.names.append(member)
        promised.groups.append(group)
        listed.has_groups |= bool(group)
    return listed


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != 32:
        raise ValueError(text)
    return digest


def _wrong(file: Path, line: int) -> DataError:
    return DataError(f"{INDEX} row {line}: not a size and a sha256", "pack again", id="D20", files=(str(file),))


def index_rows(rows: Sequence[Sequence[object]]) -> list[Sequence[object]]:
    """Rows of ``index.csv`` with its header."""
    return [INDEX_COLUMNS, *rows]
