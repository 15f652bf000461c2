"""SHA-256 of many photos in one table: 33 bytes a photo, where a list of byte strings takes 80."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.integer] | npt.NDArray[np.bool_] | Sequence[int] | slice


class Digests(Sequence[bytes]):
    """N digests of 32 bytes; b"" where the photo was not read. An array of rows selects a table of these."""

    __slots__ = ("table", "there")

    def __init__(self, table: npt.NDArray[np.uint8], there: npt.NDArray[np.bool_]) -> None:
        self.table = table  # [N, 32]
        self.there = there  # [N]

    @classmethod
    def none(cls, count: int) -> Digests:
        """Nothing was read yet."""
        return cls(np.zeros((count, 32), np.uint8), np.zeros(count, np.bool_))

    @classmethod
    def of(cls, values: Sequence[bytes] | npt.NDArray[np.object_]) -> Digests:
        """A table of digests that are byte strings; of a table itself."""
        if isinstance(values, Digests):
            return values
        found = cls.none(len(values))
        for row, digest in enumerate(values):
            found[row] = digest
        return found

    def __len__(self) -> int:
        return len(self.there)

    @overload
    def __getitem__(self, rows: int) -> bytes: ...
    @overload
    def __getitem__(self, rows: Rows) -> Digests: ...
    def __getitem__(self, rows: int | Rows) -> bytes | Digests:
        if isinstance(rows, int | np.integer):
            return self.table[rows].tobytes() if self.there[rows] else b""
        return Digests(self.table[rows], self.there[rows])

    def __setitem__(self, rows: int | Rows, digest: bytes | Digests) -> None:
        if isinstance(digest, Digests):
            self.there[rows], self.table[rows] = digest.there, digest.table
            return
        self.there[rows] = bool(digest)
        self.table[rows] = np.frombuffer(digest, np.uint8) if digest else 0

    def copy(self) -> Digests:
        """A table of its own."""
        return Digests(self.table.copy(), self.there.copy())

    def tolist(self) -> list[bytes]:
        """Byte strings, one a photo."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        for first in range(0, len(self), 65536):  # a part at a time: no second copy of all
            part = self.table[first : first + 65536].tobytes()
            for place, there in enumerate(self.there[first : first + 65536].tolist()):
                yield part[32 * place : 32 * place + 32] if there else b""

    def numbers(self) -> npt.NDArray[np.int64]:
        """[N] a number per content: equal for equal digests, -1 where a photo was not read."""
        numbers = numbers_of(self.table)
        numbers[~self.there] = -1
        return numbers


def numbers_of(table: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """[N] a number per row of hashes [N, K], K a multiple of 8: equal for equal rows.

    Ordered by their first 8 bytes, of a million rows that takes a third of the memory; by all where these are not
    enough.
    """
    words = np.ascontiguousarray(table).view(np.uint64)
    order = np.argsort(words[:, 0])
    begins = np.ones(len(words), np.bool_)
    first = words[order, 0]
    np.not_equal(first[1:], first[:-1], out=begins[1:])
    del first
    again = np.flatnonzero(~begins)
    if (words[order[again]] != words[order[again - 1]]).any():
        return np.unique(words, axis=0, return_inverse=True)[1].astype(np.int64).ravel()
    numbers = np.empty(len(words), np.int64)
    numbers[order] = np.cumsum(begins) - 1
    return numbers
