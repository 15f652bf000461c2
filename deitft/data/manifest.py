"""A table of photos -> Found: CSV or Parquet with the columns path, label, and, if wanted, split and group.

Labels and groups are text exactly as written: ``NA``, ``001`` and ``True`` are names. Paths begin at the table's
own folder, or at the folders the user names; a row that leads anywhere else is refused (fault S4). A path may also
name a photo in a shard (``train-00000.tar/000123.jpg``). Every row is checked before one is used (fault D19).
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deitft.core.progress import Task
from deitft.data.catalog import NONE, TEST, VAL, normal, shown
from deitft.data.csv_rows import read_csv_rows
from deitft.data.folders import SPLIT_SPELLINGS
from deitft.data.found import NO_LABEL, UNLABELLED, ClassFolder, Found, Labels
from deitft.data.places import FolderPlace, Place, Stamps, stamps_of
from deitft.data.shard_list import Listed, read_list
from deitft.data.shards import TAR, ShardFiles, open_shard
from deitft.errors import DataError, MissingInputError, Notice, UnavailableError

TABLES = (".csv", ".parquet")
"""Extensions of tables of photos, in lower case."""
PARQUET_EXTRA = 'pip install "deitft[parquet]"'
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z]:[\\/]|\\\\|~(/|$)")
_NOT_NORMAL = re.compile(r"//|\./|[./]$")  # only then has `normpath` something to do


@dataclass(frozen=True, slots=True)
class Table:
    """A table to read: where its paths begin, by prefix ("" where it is one folder)."""

    file: Path
    roots: tuple[tuple[str, str], ...]  # (prefix, real path)
    asked: str  # the roots as the user named them

    @property
    def name(self) -> str:
        """For messages."""
        return shown(self.file.name)


def find_in_table(
    table: Table, *, labels: Labels, group_by: str | None, cache_dir: Path | None, task: Task
) -> Found:
    """The photos that a table lists. No photo is opened.

    ``labels``: of whom a class is needed, or used. ``group_by`` is the column of groups, which must be there; else
    it is "group", where there is one.

    Raises:
        DataError: rows that cannot be used, the first of each kind named (D19); a path outside the roots (S4).
        MissingInputError: no such file, or no rows (D19).
        UnavailableError: a Parquet file, and nothing here to read it with (EXTRA).
    """
    rows = _parquet_rows(table) if table.file.suffix.lower() == ".parquet" else read_csv_rows(table.file)
    columns = _Columns(table, next(rows)[1], labels=labels, group_by=group_by)
    files = _Files(table, cache_dir)
    for line, cells in rows:
        columns.take(line, cells, files)
        if not len(columns.paths) % 1000:
            task.advance(1000)
    columns.raise_problems()
    if not columns.paths:
        raise MissingInputError(f"{table.name} has no rows", "a row a photo", id="D19", files=(str(table.file),))
    task.advance(len(columns.paths) % 1000)
    return Found(
        paths=columns.paths,
        numbers=np.frombuffer(columns.numbers, np.int64).reshape(len(columns.paths), 4),
        owners=np.frombuffer(columns.owners, np.int64),
        folders=columns.folders,
        places=(*(FolderPlace(prefix, real) for prefix, real in table.roots), *files.shards.values()),
        origin=tuple(real for _, real in table.roots),
        groups=columns.groups if any(columns.groups) else None,
        notices=columns.notices(),
    )


class _Columns:
    """What the rows say, in columns; and what is wrong with them, by kind."""

    def __init__(self, table: Table, header: Sequence[str], *, labels: Labels, group_by: str | None) -> None:
        self.table, self.header, self.labels = table, list(header), labels
        self.paths: list[str] = []
        self.groups: list[str] = []
        self.folders: list[ClassFolder] = []
        self.numbers, self.owners = array("q"), array("q")
        self._named: set[str] = set()
        self._owner_of: dict[tuple[str, str], int] = {}
        self._problems: dict[str, tuple[str, array[int]]] = {}  # kind -> (the first in words, rows)
        self._places: tuple[int | None, ...] = tuple(self._column(name) for name in ("path", "label", "split"))
        self._places += (self._column(group_by or "group", needed=group_by is not None),)

    def _column(self, name: str, *, needed: bool = False) -> int | None:
        """Where a column stands; None where it may be missing and is."""
        if name in self.header:
            return self.header.index(name)
        if not needed and (name in ("split", "group") or (name == "label" and self.labels != "all")):
            return None
        table = self.table
        first = self.header[0] if self.header else ""
        other = next((mark for mark in (";", "\t") if len(self.header) == 1 and mark in first), None)
        if other:
            hint = f"its cells are separated by {'semicolons' if other == ';' else 'tabs'}: save it with commas"
        else:
            hint = f"its first row names the columns: {', '.join(map(shown, self.header[:6]))}"
        raise DataError(f'{table.name} has no column "{name}"', hint, id="D19", files=(str(table.file),))

    def take(self, line: int, cells: Sequence[str], files: _Files) -> None:
        """One row more."""
        path, label, split, group = (None if place is None else cells[place] for place in self._places)
        path = path or ""
        try:
            name, stamps = files.find(path)
        except _RowError as error:
            self._problem(error.kind, line, error.text)
            return
        if name in self._named:
            self._problem("twice", line, f"file {shown(path)} stands here a second time")
        self._named.add(name)
        side = (split or "").strip().lower()
        if side and side not in SPLIT_SPELLINGS:
            self._problem("split", line, f'"{shown(split or "")}" is not a split (train, val, test or empty)')
        if self.labels == "all" and not (label or "").strip():
            self._problem("label", line, f"file {shown(path)} has no label")
        self.paths.append(name)
        self.numbers.extend(stamps)
        self.owners.append(UNLABELLED if self.labels == "none" else self._owner(label or "", side))
        self.groups.append(group or "")

    def _owner(self, label: str, side: str) -> int:
        if self.labels == "held out" and SPLIT_SPELLINGS.get(side) not in (VAL, TEST):
            label = NO_LABEL
        number = self._owner_of.get((label, side))
        if number is None:
            number = self._owner_of[label, side] = len(self.folders)
            where = f"its rows from {self.table.name}"
            self.folders.append(ClassFolder(SPLIT_SPELLINGS.get(side, NONE), normal(label), where))
        return number

    def _problem(self, kind: str, line: int, text: str) -> None:
        self._problems.setdefault(kind, (text, array("q")))[1].append(line)

    def raise_problems(self) -> None:
        """Stop where a row cannot be used: what leads outside first, then what stands first."""
        if not self._problems:
            return
        table = self.table
        first = {kind: rows[0] for kind, (_, rows) in self._problems.items()}
        kind = "outside" if "outside" in first else min(first, key=first.__getitem__)
        text, rows = self._problems[kind]
        more = f" ({len(rows):,} such rows)" if len(rows) > 1 else ""
        hint = "fix the rows or remove them"
        if kind == "path" and not self.paths:  # none was found: they begin somewhere else
            hint = "name the folder that the paths begin at with --root"
        if kind == "outside":
            hint = "move the photo inside, or name the folder that holds it with --root"
        raise DataError(
            f"{table.name} row {rows[0]}: {text}{more}",
            hint,
            id="S4" if kind == "outside" else "D19",
            files=(str(table.file),),
            details={name: rows[:1000].tolist() for name, (_, rows) in self._problems.items()},
        )

    def notices(self) -> list[Notice]:
        """Labels that a person would read as one: kept as they are, and said."""
        alike: dict[str, list[str]] = {}
        for name in dict.fromkeys(folder.name for folder in self.folders):
            alike.setdefault(unicodedata.normalize("NFKC", name).strip().casefold(), []).append(name)
        twins = sorted(sorted(names) for names in alike.values() if len(names) > 1)
        if not twins:
            return []
        more = f" (and {len(twins) - 1} more)" if len(twins) > 1 else ""
        names = " and ".join(f'"{ascii(name)[1:-1]}"' for name in twins[0])
        text = f"{self.table.name} has labels that differ only in spaces, case or letter forms: {names}{more}"
        hint = "they stay classes of their own"
        return [Notice(id="D19", severity="warning", text=text, hint=hint, details={"labels": twins})]


class _RowError(Exception):
    """A row cannot be used."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


class _Files:
    """Finds the files that rows name. Folders and shards are looked at once."""

    def __init__(self, table: Table, cache_dir: Path | None) -> None:
        self.table, self.cache_dir = table, cache_dir
        self.shards: dict[str, Place] = {}
        self._members: dict[str, dict[str, Stamps]] = {}
        self._lists: dict[str, Listed | None] = {}  # what lies beside shards, by folder
        self._folders: dict[str, bool] = {}  # whether its real path lies in the root

    def find(self, cell: str) -> tuple[str, Stamps]:
        """(path in the catalog, stamps) of what a cell names.

        Raises:
            _RowError: nothing that can be used.
        """
        if not cell:
            raise _RowError("path", "the path is empty")
        prefix, root, below = self._below(cell)
        full = f"{root}/{below}"
        try:
            status = os.lstat(full)
            link = stat.S_ISLNK(status.st_mode)
            if link:
                status = os.stat(full)  # noqa: PTH116 - strings: a million rows
        except (OSError, ValueError):
            return self._in_shard(cell, prefix, root, below)
        if not self._inside(full, root, link=link):
            raise _RowError("outside", f"{shown(cell)} is a link to a place outside {shown(self.table.asked)}")
        if not stat.S_ISREG(status.st_mode):
            raise _RowError("path", f"{shown(cell)} is not a file")
        return prefix + below, stamps_of(status)

    def _below(self, cell: str) -> tuple[str, str, str]:
        """(prefix, root, path below it) of a cell, decided by its text alone."""
        if _ELSEWHERE.match(cell):
            raise self._outside(cell)
        path = posixpath.normpath(cell) if _NOT_NORMAL.search(cell) else cell
        for prefix, root in self.table.roots:
            if path.startswith("/"):
                inside = root.rstrip("/") + "/"
                if path.startswith(inside):
                    return prefix, root, path[len(inside) :]
            elif len(self.table.roots) == 1:
                return prefix, root, self._not_climbing(path, cell)
            elif path.startswith(prefix):
                return prefix, root, self._not_climbing(path[len(prefix) :], cell)
        if path.startswith("/") or path == ".." or path.startswith("../"):
            raise self._outside(cell)
        roots = ", ".join(f'"{shown(prefix)}"' for prefix, _ in self.table.roots)
        raise _RowError("path", f"file {shown(cell)} begins with none of {roots}")

    def _not_climbing(self, below: str, cell: str) -> str:
        if below == ".." or below.startswith(("../", "/")):
            raise self._outside(cell)
        return below

    def _outside(self, cell: str) -> _RowError:
        return _RowError("outside", f"{shown(cell)} is outside {shown(self.table.asked)}")

    def _inside(self, full: str, root: str, *, link: bool) -> bool:
        if link:
            return os.path.realpath(full).startswith(root.rstrip("/") + "/")
        folder = full.rpartition("/")[0]
        known = self._folders.get(folder)
        if known is None:
            real = os.path.realpath(folder) + "/"
            known = self._folders[folder] = real.startswith(root.rstrip("/") + "/")
        return known

    def _in_shard(self, cell: str, prefix: str, root: str, below: str) -> tuple[str, Stamps]:
        shard, mark, member = below.partition(f"{TAR}/")
        stamps = self._listed(prefix, root, shard + TAR).get(member) if mark else None
        if stamps is not None:
            return prefix + below, stamps
        hint = ""
        if "\\" in cell and os.path.lexists(f"{root}/{below}".replace("\\", "/")):
            hint = ' (it would with "/" in the place of "\\")'
        raise _RowError("path", f"file {shown(cell)} does not exist{hint}")

    def _listed(self, prefix: str, root: str, shard: str) -> dict[str, Stamps]:
        """The stamps of every photo in a shard; empty where there is no such shard."""
        found = self._members.get(prefix + shard)
        if found is None:
            found = self._members[prefix + shard] = {}
            file = f"{root}/{shard}"
            if os.path.isfile(file):  # noqa: PTH113 - strings, as above
                if not self._inside(file, root, link=True):
                    raise _RowError(
                        "outside", f"{shown(shard)} is a link to a place outside {shown(self.table.asked)}"
                    )
                folder, _, name = file.rpartition("/")
                if folder not in self._lists:
                    self._lists[folder] = read_list(folder)
                start = prefix + shard.removesuffix(name)
                one = ShardFiles(folder, (name,), whole=False)
                index, place = open_shard(one, name, start, self._lists[folder], self.cache_dir)
                self.shards[prefix + shard] = place
                _, *rest = index.stamps
                for name, size in zip(index.names, index.sizes.tolist(), strict=True):
                    found[name] = (size, rest[0], rest[1], rest[2])
        return found


def _parquet_rows(table: Table) -> Iterator[tuple[int, list[str]]]:
    """As ``read_csv_rows``: text as it stands, whole numbers as their digits; the first row of data is row 1."""
    path = table.file
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        what = f"{table.name} is a Parquet file, and nothing is installed to read it"
        raise UnavailableError(what, PARQUET_EXTRA, id="EXTRA", files=(str(path),)) from None
    if not path.is_file():
        what = f"cannot read {shown(str(path))} (no such file)"
        raise MissingInputError(what, "check the path", id="D19", files=(str(path),))
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise DataError(f"{table.name} has a column twice", "remove one", id="D19", files=(str(path),))
            yield 0, names
            row = 0
            for batch in file.iter_batches(batch_size=10_000):
                columns = [
                    _texts(column.to_pylist(), name, row, table)
                    for name, column in zip(names, batch.columns, strict=True)
                ]
                for cells in zip(*columns, strict=True):
                    row += 1
                    yield row, list(cells)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        what = f"{table.name} is not a Parquet file that can be read ({shown(reason)})"
        raise DataError(what, "write it again", id="D19", files=(str(path),)) from error


def _texts(values: Sequence[object], name: str, row: int, table: Table) -> list[str]:
    """A column's cells as text; an empty cell is "". Only of columns that are used something else is refused."""
    found = []
    for place, value in enumerate(values, start=row + 1):
        if value is None:
            found.append("")
        elif isinstance(value, str):
            found.append(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append(str(value))
        elif name in ("path", "label", "split", "group"):
            what = f'{table.name} row {place}: "{name}" is of type {type(value).__name__}, not text'
            raise DataError(what, "store it as text", id="D19", files=(str(table.file),))
        else:
            found.append(str(value))
    return found
