"""``deitft pack``: photos -> tar shards with an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deitft.core.progress import Progress, Silent
from deitft.runs import asked

if TYPE_CHECKING:
    from deitft.runs.packing import PackResult


def pack(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    root: str | Path | Sequence[str | Path] = (),
    nested: bool = False,
    group_by: str | None = None,
    shard_mb: int = 256,
    progress: Progress | None = None,
) -> PackResult:
    """Pack photos with their labels, splits and groups into tar shards in the new folder ``out``.

    No photo is decoded: what is wrong with photos stays as it is, and ``check`` says so of the shards, too.

    A million small files are slow to list, to copy and to read over a network; a thousand shards are not. The
    photos keep every byte, and all verbs take the folder of shards as they take ``data``. ``shard_mb`` is about
    how many megabytes a shard gets. ``index.csv`` in it names every photo with its SHA-256 and its old path.

    Raises:
        OutputError: ``out`` is there already (EXISTS), lies inside the photos or cannot be written (C5).
        DataError, MissingInputError: ``data`` cannot be read as photos with labels.
        StorageError: a photo vanished or cannot be read (D16).
    """
    from deitft.runs.packing import pack_photos

    return pack_photos(
        asked.source(data, root, nested, group_by),
        asked.folder(out, "out"),
        shard_bytes=(asked.whole(shard_mb, "shard_mb", 1) or 1) * 1_000_000,
        progress=progress or Silent(),
    )
