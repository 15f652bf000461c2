"""What is in one tar shard, by the WebDataset convention: members of one name up to its first dot are a sample.

``000123.jpg`` is its photo and ``000123.cls`` its class. The index is made once, from the headers alone, and kept
in the cache folder, never beside the shard; it is made again when the shard's size or times change.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deitft.core.files import open_private, private_directory, replacing
from deitft.data.catalog import shown
from deitft.data.formats import FORMAT_OF_EXTENSION
from deitft.data.places import Stamps, stamps_of
from deitft.data.tar_members import Member, read_members
from deitft.data.walk import file_kind, is_junk_folder
from deitft.errors import DataError

INDEX_VERSION = 1
LABEL = "cls"
"""What follows the first dot in the name of a member that holds a class."""
MAX_LABEL_BYTES = 1024
_NO_LABEL = "\1"


@dataclass(slots=True)
class ShardIndex:
    """The samples of a shard, in its order. ``labels`` are the texts of their ``.cls``, None where none is."""

    stamps: Stamps
    names: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    offsets: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # of the photo's content
    sizes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: list[tuple[str, str]] = field(default_factory=list)  # (member, kind)


def index_of(file: str, shard: str, cache_dir: Path | None) -> ShardIndex:
    """The index of a tar file: the one kept of it, or a new one. ``shard`` is its name for errors.

    Raises:
        DataError: torn, damaged, or no WebDataset (D20); hostile (S3).
        OSError: it cannot be read.
    """
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        stamps = stamps_of(os.fstat(descriptor))
        kept = None if cache_dir is None else cache_dir / "shards" / f"{_name(file)}.npz"
        index = None if kept is None else _load(kept, stamps)
        if index is None:
            index = _read(descriptor, shard, stamps)
            if kept is not None:
                _save(kept, index)
        return index
    finally:
        os.close(descriptor)


def _read(descriptor: int, shard: str, stamps: Stamps) -> ShardIndex:
    index = ShardIndex(stamps)
    places: list[tuple[int, int]] = []
    done: set[str] = set()
    sample: dict[str, Member] = {}
    current = ""
    texts: dict[bytes, str] = {}

    def finish() -> None:
        photo = _photo_of(sample, current, shard)
        if photo is None:
            index.ignored.extend(
                (member.name, file_kind(posixpath.basename(member.name))) for member in sample.values()
            )
            return
        index.names.append(photo.name)
        index.labels.append(_label(descriptor, sample.get(LABEL), shard, texts))
        places.append((photo.offset, photo.size))

    for member in read_members(descriptor, shard):
        folder, base = posixpath.split(member.name)
        if base.startswith(".") or any(map(is_junk_folder, filter(None, folder.split("/")))):
            index.ignored.append((member.name, file_kind(base)))
            continue
        stem, _, extension = base.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if key != current:
            if sample:
                finish()
                done.add(current)
            sample, current = {}, key
            if key in done:
                what = f'{shown(shard)}: the members of sample "{shown(key)}" do not stand one after the other'
                raise DataError(what, _AGAIN, id="D20", files=(shard,))
        if extension.lower() in sample:
            what = f'{shown(shard)} has two members of the name "{shown(member.name)}"'
            raise DataError(what, _AGAIN, id="D20", files=(shard,))
        sample[extension.lower()] = member
    if sample:
        finish()
    table = np.array(places, np.int64).reshape(len(places), 2)
    index.offsets, index.sizes = table[:, 0].copy(), table[:, 1].copy()
    return index


_AGAIN = "other readers would lose photos: pack it again"


def _photo_of(sample: dict[str, Member], key: str, shard: str) -> Member | None:
    photos = [member for extension, member in sample.items() if f".{extension}" in FORMAT_OF_EXTENSION]
    if len(photos) > 1:
        what = f'{shown(shard)}: sample "{shown(key)}" has {len(photos)} photos'
        raise DataError(what, "give each a name of its own", id="D20", files=(shard,))
    if not photos and LABEL in sample:
        what = f'{shown(shard)}: sample "{shown(key)}" has a class and no photo'
        raise DataError(what, "copy the shard again, or pack it again", id="D20", files=(shard,))
    return photos[0] if photos else None


def _label(descriptor: int, member: Member | None, shard: str, texts: dict[bytes, str]) -> str | None:
    if member is None:
        return None
    data = os.pread(descriptor, min(member.size, MAX_LABEL_BYTES + 1), member.offset)
    text = texts.get(data)
    if text is None:
        try:
            text = texts[data] = data.decode().strip()
        except UnicodeDecodeError:
            text = ""
        if not text or member.size > MAX_LABEL_BYTES or not text.isprintable():
            what = f"{shown(shard)}: {shown(member.name)} holds no name or number of a class"
            raise DataError(what, "write one into it, as UTF-8", id="D20", files=(shard,))
    return text


def _name(file: str) -> str:
    return hashlib.sha256(os.path.realpath(file).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _load(file: Path, stamps: Stamps) -> ShardIndex | None:
    """An index kept of a shard with these stamps; None where there is none that can be used."""
    try:
        with open_private(file) as opened, np.load(opened, allow_pickle=False) as stored:
            if int(stored["version"]) != INDEX_VERSION or tuple(stored["stamps"].tolist()) != stamps:
                return None
            labels = _texts(stored["labels"])
            ignored = _texts(stored["ignored"])
            index = ShardIndex(
                stamps=stamps,
                names=_texts(stored["names"]),
                labels=[None if text == _NO_LABEL else text for text in labels],
                offsets=stored["offsets"],
                sizes=stored["sizes"],
                ignored=list(zip(ignored[::2], ignored[1::2], strict=True)),
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return index if _is_whole(index) else None


def _is_whole(index: ShardIndex) -> bool:
    columns = (index.offsets, index.sizes)
    count = len(index.names)
    alike = all(column.shape == (count,) and column.dtype == np.int64 for column in columns)
    if not alike or len(index.labels) != count:
        return False
    ends = index.offsets + index.sizes
    return bool((index.offsets >= 0).all() and (index.sizes >= 0).all() and (ends <= index.stamps[0]).all())


def _save(file: Path, index: ShardIndex) -> None:
    """Keep an index. Where that is not possible it is made again next time."""
    try:
        private_directory(file.parent)
        with replacing(file) as out:
            np.savez(
                out,
                version=np.int64(INDEX_VERSION),
                stamps=np.array(index.stamps, np.int64),
                names=_column(index.names),
                labels=_column(_NO_LABEL if text is None else text for text in index.labels),
                offsets=index.offsets,
                sizes=index.sizes,
                ignored=_column(text for pair in index.ignored for text in pair),
            )
    except OSError:
        return


def _column(texts: Iterable[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("".join(f"{text}\0" for text in texts).encode(), np.uint8)


def _texts(column: npt.NDArray[np.uint8]) -> list[str]:
    return column.tobytes().decode().split("\0")[:-1]
