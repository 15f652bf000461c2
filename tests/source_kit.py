"""The same photos as everything that can be named as data; and tar files written byte by byte, faults and all."""

from __future__ import annotations

import csv
import io
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from photo_kit import state_of

from deitft.core.progress import Silent
from deitft.data.catalog import Catalog
from deitft.data.scan import scan
from deitft.data.source import Source
from deitft.errors import DeitftError

Member = tuple[str, bytes]


def tar_bytes(members: Iterable[Member], format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of plain files, as python writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def header(name: bytes, size: int = 0, kind: bytes = b"0", **fields: bytes) -> bytes:
    """One header block with a right checksum; ``fields`` (mode, size_field, link, magic, prefix) as given."""
    block = bytearray(512)
    block[0:100] = name.ljust(100, b"\0")[:100]
    block[100:108] = fields.get("mode", b"0000644\0")
    block[124:136] = fields.get("size_field", b"%011o\0" % size)
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157:257] = fields.get("link", b"").ljust(100, b"\0")
    block[257:265] = fields.get("magic", b"ustar\00000")
    block[345:500] = fields.get("prefix", b"").ljust(155, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    """Content as it stands in a tar."""
    return content + bytes(-len(content) % 512)


END = bytes(1024)


def samples(photos: Sequence[Member], labels: Sequence[str]) -> list[Member]:
    """Members of photos with their classes: ("000.jpg", bytes), ("000.cls", label), ..."""
    found: list[Member] = []
    for (name, content), label in zip(photos, labels, strict=True):
        found += [(name, content), (f"{name.rpartition('.')[0]}.cls", label.encode())]
    return found


def write_csv(path: Path, rows: Iterable[Sequence[str]], columns: Sequence[str] = ("path", "label")) -> Path:
    """A CSV file as any other program writes it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def look(*paths: Path | str, roots: Sequence[Path] = (), nested: bool = False, **more: object) -> Catalog:
    """Scan these; nothing that was named is touched."""
    source = Source(tuple(map(Path, paths)), tuple(roots), nested, **more)  # type: ignore[arg-type]
    folders = [path if path.is_dir() else path.parent for path in source.places if path.exists()]
    before = [state_of(folder) for folder in folders]
    try:
        return scan(source, progress=Silent())
    finally:
        assert [state_of(folder) for folder in folders] == before


def refusal(*paths: Path | str, **options: object) -> DeitftError:
    """The error that these are refused with, in one line."""
    with pytest.raises(DeitftError) as caught:
        look(*paths, **options)  # type: ignore[arg-type]
    assert "\n" not in caught.value.line
    return caught.value


def labels_of(catalog: Catalog) -> dict[str, str]:
    """path -> name of its class."""
    names = (*catalog.classes, "")
    return {path: names[label] for path, label in zip(catalog.paths, catalog.labels.tolist(), strict=True)}


def all_kinds(folder: Path, to: Path) -> dict[str, Source]:
    """The photos of class folders (class/name.jpg) once more: with deeper folders, as CSV, as shards, as two
    roots, as a table over these shards; as Parquet where it can be written."""
    import deitft

    kinds = {"class folders": Source((folder,))}
    photos = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

    nested = to / "nested"
    for number, path in enumerate(photos):
        target = nested / path.parts[0] / f"batch-{number % 3}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / path, target)
    kinds["nested"] = Source((nested,))

    flat = to / "flat"
    flat.mkdir(parents=True)
    rows = []
    for number, path in enumerate(reversed(photos)):
        name = f"{number:04d}{path.suffix}"
        shutil.copy2(folder / path, flat / name)
        rows.append((name, path.parts[0]))
    kinds["CSV"] = Source((write_csv(flat / "labels.csv", rows),))

    two = [to / "two" / "summer", to / "two" / "winter"]
    for number, path in enumerate(photos):
        target = two[number % 2] / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / path, target)
    kinds["two roots"] = Source(tuple(two))

    deitft.pack(folder, to / "shards", shard_mb=1)
    kinds["shards"] = Source((to / "shards",))
    members = labels_of(look(to / "shards"))
    kinds["a table over shards"] = Source((write_csv(to / "over.csv", members.items()),), (to / "shards",))

    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return kinds
    columns = {"path": [name for name, _ in rows], "label": [label for _, label in rows]}
    (to / "parquet").mkdir()
    pyarrow.parquet.write_table(pyarrow.table(columns), to / "parquet" / "labels.parquet")
    kinds["Parquet"] = Source((to / "parquet" / "labels.parquet",), (flat,))
    return kinds
