"""Catalog -> tar shards in the WebDataset convention and two lists beside them. No byte of a photo changes.

Photos are spread over the shards by a hash of their paths, so that a reader who takes them one after the other
meets the classes mixed; the same photos give the same shards, byte for byte. Splits that the user gave are in the
shards' names.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import BinaryIO

from deitft.core.files import commit_directory, write_text
from deitft.core.progress import StopFlag, Task
from deitft.core.records import csv_lines
from deitft.data.catalog import NONE, SPLIT_NAMES, TRAIN, Catalog, counted, normal, shown
from deitft.data.formats import FORMAT_OF_EXTENSION, sniff
from deitft.data.places import ShardChangedError
from deitft.data.shard_list import CLASSES, INDEX, index_rows
from deitft.data.tar_members import MAX_MEMBER_BYTES
from deitft.errors import DataError, StorageError

_EXTENSIONS = {kind: extension for extension, kind in reversed(list(FORMAT_OF_EXTENSION.items()))}


@dataclass(slots=True)
class Packed:
    """What was written: shards with their number of photos and bytes."""

    shards: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def photos(self) -> int:
        """Photos in all shards."""
        return sum(count for _, count, _ in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of all shards."""
        return sum(size for _, _, size in self.shards)


def pack(catalog: Catalog, out: Path, *, shard_bytes: int, task: Task, stop: StopFlag) -> Packed:
    """Write photos as shards of about ``shard_bytes`` into the new folder ``out``: whole or not at all.

    Raises:
        DataError: a photo is larger than a shard's member may be (D20).
        StorageError: a photo vanished, changed or cannot be read (D16).
        StoppedError: ``stop`` was set; nothing is left.
    """
    _check_sizes(catalog)
    packed = Packed()

    def fill(folder: Path) -> None:
        rows: list[list[object]] = []
        for name, photos in _shards(catalog, shard_bytes):
            with (
                (folder / name).open("wb") as file,
                tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
            ):
                for stem, row in photos:
                    if stop:
                        raise stop.error("packing was stopped", "nothing was written; run the same command again")
                    rows.append(_add(tar, name, stem, catalog, row))
                    task.advance()
            packed.shards.append((name, len(photos), (folder / name).stat().st_size))
        write_text(folder / CLASSES, "".join(f"{label}\n" for label in catalog.classes))
        write_text(folder / INDEX, csv_lines(index_rows(rows)))

    commit_directory(out, fill)
    return packed


def _check_sizes(catalog: Catalog) -> None:
    large = [row for row, size in enumerate(catalog.sizes.tolist()) if size > MAX_MEMBER_BYTES]
    if large:
        paths = tuple(catalog.paths[row] for row in large)
        verb = "has" if len(large) == 1 else "have"
        limit = f"{MAX_MEMBER_BYTES // 2**20} MiB"
        what = f"{counted(len(large), 'photo')} {verb} more than {limit}, first: {shown(paths[0])}"
        raise DataError(what, "save it smaller, or leave it out", id="D20", files=paths)
    odd = [label for label in catalog.classes if not label.isprintable() or label != label.strip()]
    if odd:
        what = f'the name of class "{shown(odd[0])}" cannot stand in a line of {CLASSES}'
        raise DataError(what, "rename the class", id="D21", files=tuple(odd))


def _shards(catalog: Catalog, shard_bytes: int) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """(file name, [(name of the sample, row)]) of each shard."""
    paths, sizes, given = catalog.paths, catalog.sizes.tolist(), catalog.given.tolist()
    sides = sorted(set(given))
    merged = TRAIN if len(sides) > 1 else NONE  # beside given splits, photos of none are train's
    hashes = [blake2b(normal(path).encode(), digest_size=16).digest() for path in paths]
    width = max(6, len(str(len(paths))))
    names = {NONE: "shard"} | dict(enumerate(SPLIT_NAMES))
    for side in sorted({merged if side == NONE else side for side in sides}):
        mine = (row for row, one in enumerate(given) if (merged if one == NONE else one) == side)
        number, filled = 0, 0
        samples: list[tuple[str, int]] = []
        for place, row in enumerate(sorted(mine, key=hashes.__getitem__)):
            if samples and filled + sizes[row] > shard_bytes:
                yield f"{names[side]}-{number:05d}.tar", samples
                number, filled, samples = number + 1, 0, []
            samples.append((f"{place:0{width}d}", row))
            filled += sizes[row]
        yield f"{names[side]}-{number:05d}.tar", samples


def _add(tar: tarfile.TarFile, shard: str, stem: str, catalog: Catalog, row: int) -> list[object]:
    """Write one sample; its row of ``index.csv``."""
    path = catalog.paths[row]
    data = _content(catalog, path, int(catalog.sizes[row]))
    extension = os.path.splitext(path)[1].lower()  # noqa: PTH122 - a path in the catalog
    if extension not in FORMAT_OF_EXTENSION:
        extension = _EXTENSIONS[sniff(data[:64]) or "JPEG"]
    label = int(catalog.labels[row])
    for name, content in ((f"{stem}{extension}", data), (f"{stem}.cls", str(label).encode())):
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o644
        stream: BinaryIO = io.BytesIO(content)
        tar.addfile(member, stream)
    group = "" if catalog.groups is None else catalog.groups[row]
    digest = sha256(data).hexdigest()
    return [shard, f"{stem}{extension}", len(data), digest, catalog.classes[label], group, path]


def _content(catalog: Catalog, path: str, size: int) -> bytes:
    try:
        _, data = catalog.places.read(path)
    except ShardChangedError as error:
        raise StorageError(
            f"{shown(path)}: {error}", "run the same command again", id="D16", files=(path,)
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        what = f"{shown(path)} cannot be read ({reason})"
        raise StorageError(what, "restore it and run the same command again", id="D16", files=(path,)) from error
    if len(data) != size:
        what = f"{shown(path)} changed while it was packed"
        raise StorageError(what, "run the same command again", id="D16", files=(path,))
    return data
