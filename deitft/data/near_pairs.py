"""Catalog -> near-duplicates: candidates by looks, judged by pixels, remembered beside the photo cache."""

from __future__ import annotations

import io
import zipfile
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.core.files import write_bytes
from deitft.data.catalog import Catalog, NearPairs
from deitft.data.near import NEAR_VERSION, VIEWS, Candidates, candidates, has_look
from deitft.data.near_pixels import SAME

SMALLEST = 24
"""Pixels a side below which nothing is fine structure."""
MOST_COMPARED, COMPARED_SHARE = 5_000, 0.25
"""Pairs that may be compared by pixels: so many, or this share of the number of photos."""


class Search:
    """One search, from the looks of an inspected catalog to its near-duplicates.

    ``known`` holds what an earlier search of the same photos found, if ``file`` remembers one. Else ``jobs`` are
    to be compared, and ``done`` takes the answers.
    """

    def __init__(self, catalog: Catalog, file: Path | None) -> None:
        self._catalog = catalog
        self._file = file
        self._rows = _searched(catalog)
        self._key = self._fingerprint()
        self._found: Candidates | None = None
        self._left = 0
        self.known = self._load()

    def jobs(self, threads: int) -> list[tuple[str, str, int, int, int]]:
        """(path, path, row, row, view) of each candidate, in an order that opens few photos twice."""
        assert self._catalog.looks is not None
        found = candidates(self._catalog.looks, self._rows, threads=threads)
        most = max(MOST_COMPARED, int(COMPARED_SHARE * len(self._rows)))
        chosen = np.arange(min(len(found), most))
        self._left = len(found) - len(chosen)
        chosen = chosen[np.lexsort((found.second[chosen], found.first[chosen]))]
        first, second = found.first[chosen], found.second[chosen]
        self._found = Candidates(first, second, found.views[chosen], found.alike[chosen])
        paths = self._catalog.paths
        rows = zip(first.tolist(), second.tolist(), self._found.views.tolist(), strict=True)
        return [(paths[one], paths[other], one, other, view) for one, other, view in rows]

    def done(self, likeness: list[float]) -> NearPairs:
        """The pairs that are one picture, by row; remembered."""
        assert self._found is not None
        alike = np.array(likeness, np.float64)
        kept = np.flatnonzero(alike >= SAME)
        one, other = self._found.first[kept], self._found.second[kept]
        mirrored = np.array([view[3] for view in VIEWS], np.bool_)[self._found.views[kept]]
        small, large = np.minimum(one, other), np.maximum(one, other)
        order = np.lexsort((large, small))
        distance = (1 - alike[kept]).clip(0, 1).astype(np.float32)
        pairs = NearPairs(small[order], large[order], mirrored[order], distance[order], self._left)
        self._save(pairs)
        return pairs

    def _fingerprint(self) -> bytes:
        looks, pixels = self._catalog.looks, self._catalog.pixels
        state = blake2b(f"{NEAR_VERSION} {len(self._catalog)}\n".encode(), digest_size=32)
        if looks is not None and pixels is not None:
            for at in range(0, len(self._rows), 1 << 16):
                rows = self._rows[at : at + (1 << 16)]
                for column in (rows, looks[rows], pixels[rows]):
                    state.update(column.tobytes())
        return state.digest()

    def _load(self) -> NearPairs | None:
        if len(self._rows) < 2:
            return NearPairs.none()
        if self._file is None:
            return None
        try:
            with self._file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                if bytes(stored["key"]) != self._key:
                    return None
                rows, numbers, left = stored["rows"], stored["numbers"], int(stored["left"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
            return None
        whole = rows.dtype == np.int64 and rows.ndim == 2 and rows.shape == (3, len(numbers))
        if (
            not whole
            or numbers.dtype != np.float32
            or (rows[:2] < 0).any()
            or (rows[:2] >= len(self._catalog)).any()
        ):
            return None
        return NearPairs(rows[0], rows[1], rows[2].astype(np.bool_), numbers, left)

    def _save(self, pairs: NearPairs) -> None:
        if self._file is None:
            return
        out = io.BytesIO()
        rows = np.stack((pairs.first, pairs.second, pairs.mirrored.astype(np.int64)))
        np.savez(out, key=np.frombuffer(self._key, np.uint8), rows=rows, numbers=pairs.distance, left=pairs.left)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_bytes(self._file, out.getvalue())
        except OSError:
            return  # the photo cache beside it has said so


def _searched(catalog: Catalog) -> npt.NDArray[np.int64]:
    """Rows that are looked for: good photos with something to see, one of each picture."""
    if catalog.looks is None or catalog.pixels is None or not len(catalog):
        return np.zeros(0, np.int64)
    usable = catalog.pixels.any(axis=1) & has_look(catalog.looks)
    usable &= np.minimum(catalog.widths, catalog.heights) >= SMALLEST
    usable[list(catalog.bad)] = False
    rows = np.flatnonzero(usable)
    _, first = np.unique(catalog.pictures[rows], return_index=True)
    return rows[np.sort(first)].astype(np.int64)
