"""Photos -> a new folder of tar shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deitft.core.files import probe_writable
from deitft.core.progress import Progress, StopFlag, catch_stop_signals
from deitft.core.units import format_bytes
from deitft.data.inspect import default_cache_dir
from deitft.data.packing import Packed, pack
from deitft.data.scan import scan
from deitft.data.source import Source
from deitft.data.walk import ignored_notices
from deitft.errors import OutputError


@dataclass(frozen=True, slots=True)
class PackResult:
    """Where the shards are, and how many."""

    out: Path
    packed: Packed
    classes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        shards = [{"name": name, "photos": count, "bytes": size} for name, count, size in self.packed.shards]
        return {"out": str(self.out), "photos": self.packed.photos, "classes": self.classes, "shards": shards}

    def summary(self) -> list[tuple[str, str]]:
        """(name, text) rows for people."""
        shards = f"{len(self.packed.shards):,} ({format_bytes(self.packed.bytes)})"
        return [
            ("Photos", f"{self.packed.photos:,} of {len(self.classes):,} classes"),
            ("Shards", shards),
            ("Folder", str(self.out)),
        ]


def pack_photos(source: Source, out: Path, *, shard_bytes: int, progress: Progress) -> PackResult:
    """See ``jobs.pack``."""
    _check_out(out, source)
    stop = StopFlag()
    with catch_stop_signals(stop, progress):
        catalog = scan(source, progress=progress, cache_dir=default_cache_dir())
        for notice in catalog.notices:
            if notice.id != "D14":
                progress.warn(notice)
        for notice in ignored_notices(catalog.ignored, listed=False):
            progress.warn(notice)
        with progress.task("Packing photos", len(catalog), unit="photos") as task:
            packed = pack(catalog, out, shard_bytes=shard_bytes, task=task, stop=stop)
    return PackResult(out, packed, catalog.classes)


def _check_out(out: Path, source: Source) -> None:
    """Prove that the folder can be made before a photo is read, and that it takes the place of nothing.

    Raises:
        OutputError: inside the photos or not writable (C5), or something is there (EXISTS).
    """
    inside = source.holds(out)
    if inside is not None:
        what = f"the folder of shards {out} lies inside the data {inside}"
        raise OutputError(what, "nothing is written into your data; choose another place", id="C5")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there already", "choose another place, or remove it", id="EXISTS")
    existing = out.absolute().parent
    while not existing.exists():
        existing = existing.parent
    try:
        probe_writable(existing)
    except OutputError as error:
        raise OutputError(error.what, "choose another place", id="C5") from error
