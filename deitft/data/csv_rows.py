"""Rows of a CSV file with its traps closed: nothing is guessed, no cell changes its text (fault D19).

UTF-8 with or without a byte order mark, commas, a header; every row as long as the header. Rows are counted as an
editor counts lines.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from deitft.core.records import unguard_cell
from deitft.data.catalog import shown
from deitft.errors import DataError, MissingInputError

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_csv_rows(path: Path, *, id: str = "D19") -> Iterator[tuple[int, list[str]]]:
    """(row, cells) of the header and of every row that is not empty, one after the other.

    Raises:
        MissingInputError: no such file.
        DataError: not UTF-8, a NUL byte, a quote that is not closed, a row of another length, a column twice.
    """
    name, width = shown(path.name), 0
    wrong: list[tuple[int, int]] = []
    for row, cells in any_csv_rows(path, id=id):
        if "\0" in "".join(cells):
            raise _refused(path, f"{name} row {row}: holds a NUL byte", "save it as UTF-8 text", id)
        if not width:
            width = len(cells)
            twice = next((cell for cell in cells if cells.count(cell) > 1), None)
            if twice is not None:
                raise _refused(path, f'{name} has the column "{shown(twice)}" twice', "remove one", id)
        elif len(cells) != width:
            wrong.append((row, len(cells)))
            continue
        if not wrong:
            yield row, cells
    if wrong:
        row, count = wrong[0]
        more = f" ({len(wrong):,} such rows)" if len(wrong) > 1 else ""
        what = f"{name} row {row}: {count} cells, the first row has {width}{more}"
        raise _refused(path, what, "fix the rows or remove them; a cell with a comma needs quotes", id)
    if not width:
        raise _refused(path, f"{name} is empty", "its first row names the columns", id)


def any_csv_rows(path: Path, *, id: str = "D19") -> Iterator[tuple[int, list[str]]]:
    """The same of any length, with nothing asked of the cells; nothing of an empty file.

    Raises:
        MissingInputError: no such file.
        DataError: not UTF-8, or a quote that is not closed.
    """
    name = shown(path.name)
    try:
        if path.exists() and not path.is_file():  # a device may never end, a pipe never begin
            raise MissingInputError(f"{shown(str(path))} is not a file", "check the path", id=id)
        with path.open("rb") as file:
            start = file.read(4)
            if start[:2] in _MARKS:
                raise _refused(path, f"{name} is not UTF-8 ({_MARKS[start[:2]]})", "save it as UTF-8", id)
            file.seek(0)
            with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
                yield from _rows(text, path, id)
    except UnicodeDecodeError:
        raise _refused(path, f"{name} is not UTF-8 ({_wrong_byte(path)})", "save it as UTF-8", id) from None
    except OSError as error:
        what = f"cannot read {shown(str(path))} ({(error.strerror or str(error)).lower()})"
        raise MissingInputError(what, "check the path", id=id, files=(str(path),)) from error


def _rows(text: io.TextIOWrapper, path: Path, id: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, strict=True)
    start = 1
    try:
        for cells in reader:
            row, start = start, reader.line_num + 1
            if cells:
                yield row, [unguard_cell(cell) for cell in cells]
    except csv.Error as error:
        what = f"{shown(path.name)} row {start}: {error}"
        raise _refused(path, what, "fix the row or remove it", id) from error


def _wrong_byte(path: Path) -> str:
    data = path.read_bytes()
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        return f"byte 0x{data[at]:02x} in row {data[:at].count(10) + 1}"
    return "it changed while it was read"


def _refused(path: Path, what: str, hint: str, id: str) -> DataError:
    return DataError(what, hint, id=id, files=(str(path),))
