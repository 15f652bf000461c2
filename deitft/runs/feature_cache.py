"""What a frozen model has seen of photos, kept beside the photo cache: a second look takes seconds.

``remembered``: one file a model, its weights and its preprocessing; a row a photo, by the SHA-256 of its content,
so that other names and other folders find it, too. The last bits of a row depend on the photos it was looked at
with. ``kept_whole``: one file a computation, for who must come to the same bits as without it. A file that is
damaged or made by another program is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.core.files import canonical_json, open_private, private_directory, replacing
from deitft.core.records import version_of
from deitft.data.digests import Digests
from deitft.data.photo_cache import DECODER_VERSION
from deitft.evaluation.predictions import Ints, Logits

FEATURES_VERSION = 1
"""Raise it whenever the same photo, weights and preprocessing give other features."""
MOST_BYTES = 256 * 1024 * 1024
"""Bytes of one file at most: the photos looked at last stay."""
MOST_BYTES_OF_ALL = 1024 * 1024 * 1024
"""Bytes of all files at most: those used last stay."""

_DAMAGED = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, EOFError),
    *(RuntimeError, ArithmeticError, MemoryError, struct.error, zipfile.BadZipFile),
)
"""What numpy and zipfile raise of damaged files: an unknown compression, a password, a length beyond the end."""


def features_file(cache_dir: Path, weights: str, asked: object) -> Path:
    """The file of what weights with this SHA-256 see under the settings ``asked`` (plain data)."""
    versions = [f"{name} {version_of(name)}" for name in ("torch", "timm", "pillow", "opencv-python-headless")]
    parts = [FEATURES_VERSION, DECODER_VERSION, versions, weights, asked]
    return cache_dir / "features" / f"{hashlib.sha256(canonical_json(parts)).hexdigest()[:24]}.npz"


def remembered(file: Path, digests: Digests, compute: Callable[[Ints], Logits]) -> Logits:
    """Features [N, D] of photos with these digests; ``compute`` gives those of the rows that are not in ``file``.

    ``file`` knows them afterwards, if it can be written.
    """
    table, kept = _load(file)
    place = {digest: at for at, digest in enumerate(Digests(table, np.ones(len(table), np.bool_)))}
    at = np.array([place.get(digest, -1) for digest in digests], np.int64)
    missing = np.flatnonzero(at < 0).astype(np.int64)
    if not len(missing):
        with contextlib.suppress(OSError):
            os.utime(file)
        return kept[at]
    fresh = compute(missing).astype(np.float32, copy=False)
    if kept.shape[1] != fresh.shape[1]:  # nothing was kept, or of something else
        table, kept = table[:0], np.empty((0, fresh.shape[1]), np.float32)
        if len(missing) < len(at):
            missing, at = np.arange(len(at)), np.full(len(at), -1, np.int64)
            fresh = compute(missing).astype(np.float32, copy=False)
    found = np.empty((len(digests), fresh.shape[1]), np.float32)
    found[at >= 0], found[missing] = kept[at[at >= 0]], fresh
    others = np.setdiff1d(np.arange(len(kept)), at)
    _, once = np.unique(digests.table, axis=0, return_index=True)
    most = MOST_BYTES // (4 * fresh.shape[1] + 32)
    with contextlib.suppress(OSError):  # the photo cache beside it has said so
        _save(
            file,
            {
                "digests": np.concatenate((digests.table[once], table[others]))[:most],
                "features": np.concatenate((found[once], kept[others]))[:most],
            },
        )
    return found


def kept_whole(file: Path, count: int, compute: Callable[[], tuple[Logits, ...]]) -> tuple[Logits, ...]:
    """Features [``count``, D], one array a head, just as ``compute`` gave them the first time.

    ``file`` must be of all that they depend on; it holds them afterwards, if it can be written and they are small.
    """
    with contextlib.suppress(*_DAMAGED), open_private(file) as opened, np.load(opened, allow_pickle=False) as kept:
        columns = tuple(kept[name] for name in sorted(kept.files))
        if columns and all(_is_table(column, count) for column in columns):
            os.utime(file)
            return columns
    columns = compute()
    if columns and sum(column.nbytes for column in columns) <= MOST_BYTES:
        with contextlib.suppress(OSError):
            _save(file, {f"head{number}": column for number, column in enumerate(columns)})
    return columns


def _is_table(features: npt.NDArray[Any], rows: int) -> bool:
    return features.dtype == np.float32 and features.ndim == 2 and len(features) == rows


def _load(file: Path) -> tuple[npt.NDArray[np.uint8], Logits]:
    """(digests [M, 32], features [M, D]) of a file; of none where there is none that can be used."""
    nothing = np.empty((0, 32), np.uint8), np.empty((0, 0), np.float32)
    try:
        with open_private(file) as opened, np.load(opened, allow_pickle=False) as stored:
            table, kept = stored["digests"], stored["features"]
    except _DAMAGED:
        return nothing
    whole = table.dtype == np.uint8 and table.shape[1:] == (32,) and _is_table(kept, len(table))
    if not whole or not np.isfinite(kept).all():
        return nothing
    return table, kept


def _save(file: Path, arrays: Mapping[str, Any]) -> None:
    private_directory(file.parent)
    with replacing(file) as out:
        np.savez(out, **arrays)
    total = 0
    for old in sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        total += old.stat().st_size
        if total > MOST_BYTES_OF_ALL and old != file:
            old.unlink(missing_ok=True)
