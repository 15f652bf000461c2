"""What do many photos cost before one is trained on: time and memory of scan, cache and opening again.

    python benchmarks/entries.py            # 1,000,000 and 80,000 entries, as folders, as a table, as shards
    python benchmarks/entries.py --count 20000 --to /tmp/entries --no-record

The entries are generated: real files (hard links to a few photos) in 100 class folders, a CSV table of the same,
and tar shards; what reading would have told of each is made up with real stamps, so the cache is as large as a
real one and nothing is decoded. Each step is a process of its own: seconds, and the peak of its memory. ``bare``
is what the system alone takes: every folder listed and every file's size and times asked for, by as many processes
as ``scan`` has, nothing kept.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from deitft.compute.limits import resident_peak
from deitft.data.walk_apart import MOST

CLASSES, BASES = 100, 50
STEPS = {
    "folders": ("imports", "bare", "scan", "remember", "reopen"),
    "table": ("scan", "reopen"),
    "shards": ("scan", "scan again", "remember", "reopen"),
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--count", type=int, action="append", help="entries; may be repeated")
    words.add_argument("--kind", choices=list(STEPS), action="append", help="left out: all; may be repeated")
    words.add_argument(
        "--to", type=Path, help="where to put them; left out: a temporary folder, removed at the end"
    )
    words.add_argument("--no-record", action="store_true", help="print only")
    words.add_argument("--step", nargs=4, help=argparse.SUPPRESS)  # kind, step, data, cache
    asked = words.parse_args()
    if asked.step:
        print(json.dumps(step(*asked.step)))
        return
    for count in asked.count or [1_000_000, 80_000]:
        place = asked.to or Path(tempfile.mkdtemp(prefix="entries-"))
        try:
            measure(count, place / str(count), asked.kind or list(STEPS), record=not asked.no_record)
        finally:
            if asked.to is None:
                shutil.rmtree(place, ignore_errors=True)


def measure(count: int, place: Path, kinds: list[str], *, record: bool) -> None:
    from ledger import Ledger

    ledger = Ledger("entries") if record else None
    for kind in kinds:
        steps = STEPS[kind]
        todo = [name for name in steps if ledger is None or f"{kind}-{count}-{name}" not in ledger]
        if not todo:
            continue
        data, cache = generate(kind, count, place), place / f"cache-{'shards' if kind == 'shards' else 'folders'}"
        for name in steps:
            # `Ledger` keeps what is there; the steps before are needed for those after
            words = [sys.executable, __file__, "--step", kind, name, str(data), str(cache)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            values = {"kind": kind, "step": name, "entries": count, **json.loads(done.stdout)}
            print(json.dumps(values), flush=True)
            if ledger is not None and name in todo:
                ledger.add(f"{kind}-{count}-{name}", values)


def step(kind: str, name: str, data: str, cache: str) -> dict[str, object]:
    """One step in this process: its seconds after the imports, and the peak of memory."""
    from deitft.core.progress import Silent
    from deitft.data import photo_cache
    from deitft.data.inspect import inspect
    from deitft.data.scan import scan
    from deitft.data.source import Source
    from deitft.data.splits import assign

    before = peak()
    if name == "bare":
        return {"seconds": round(bare(Path(data)), 2)}
    found: dict[str, object] = {}
    if name != "imports":
        roots = (Path(data).parent / "folders",) if kind == "table" else ()
        began = time.perf_counter()
        catalog = scan(Source((Path(data),), roots), progress=Silent(), cache_dir=Path(cache))
        found["scan_seconds"] = round(time.perf_counter() - began, 2)
        found["photos"] = len(catalog)
        began = time.perf_counter()
        if name == "remember":
            file = photo_cache.cache_file(Path(cache), catalog.places)
            facts = made_up(catalog)
            began = time.perf_counter()
            photo_cache.save(file, facts)
            found["cache_bytes"] = file.stat().st_size
        elif name == "reopen":
            catalog = inspect(catalog, workers=1, progress=Silent(), cache_dir=Path(cache), near=False)
            assert catalog.inspected
            found["open_seconds"] = round(time.perf_counter() - began, 2)
            found["peak_megabytes_open"] = round(peak())
            began = time.perf_counter()
            found["fingerprint"] = catalog.fingerprint[:12]
            splits = assign(catalog, seed=0)
            found["train"] = len(splits.indices(0))
        found["seconds"] = round(time.perf_counter() - began, 2)
    return found | {"peak_megabytes": round(peak()), "imports_megabytes": round(before)}


def bare(folders: Path) -> float:
    """Seconds of listing and asking alone."""
    began = time.perf_counter()
    with ProcessPoolExecutor(min(MOST, len(os.sched_getaffinity(0))), get_context("fork")) as pool:
        count = sum(pool.map(asked_for, sorted(folders.iterdir())))
    assert count
    return time.perf_counter() - began


def asked_for(folder: Path) -> int:
    """How many files of a folder have a size; asked for as `scan` does, through the open folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(handle) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size > 0 for entry in entries)
    finally:
        os.close(handle)


def peak() -> float:
    """Megabytes of this process at most so far."""
    return resident_peak() / 1e6


def made_up(catalog: object) -> Any:
    """Facts as reading would have told them: random content, the real stamps."""
    from deitft.data.catalog import Catalog
    from deitft.data.photo_cache import COLUMNS, PhotoFacts

    assert isinstance(catalog, Catalog)
    facts = PhotoFacts.unknown(catalog.paths)
    draw = np.random.default_rng(0)
    for column in COLUMNS:
        values = getattr(facts, column)
        if values.dtype == np.uint8:
            values[:] = draw.integers(0, 256, values.shape, np.uint8)
        elif column in ("contrast", "sharpness"):
            values[:] = draw.random(values.shape, np.float32) * 100
    facts.shapes[:] = (533, 400)
    facts.stamps[:] = np.column_stack((catalog.sizes, catalog.stamps))
    return facts


def generate(kind: str, count: int, place: Path) -> Path:
    """The entries, made once."""
    folders = place / "folders"
    if kind != "shards" and not folders.exists():
        write_folders(count, folders)
    if kind == "folders":
        return folders
    if kind == "table":
        table = place / "labels.csv"
        with table.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "label"))
            rows.writerows((entry(number), f"class-{number % CLASSES:03d}") for number in range(count))
        return table
    if not (place / "shards").exists():
        write_shards(count, place / "shards")
    return place / "shards"


def entry(number: int) -> str:
    return f"class-{number % CLASSES:03d}/article-{number // CLASSES:07d}-front.jpg"


def write_folders(count: int, folders: Path) -> None:
    folders.mkdir(parents=True)
    for number in range(CLASSES):
        (folders / f"class-{number:03d}").mkdir()
    base = [folders.parent / f"photo-{number}.jpg" for number in range(BASES)]
    for number, path in enumerate(base):
        path.write_bytes(photo(number))
    for number in range(count):
        os.link(base[number % BASES], folders / entry(number))


def write_shards(count: int, folder: Path, a_shard: int = 10_000) -> None:
    folder.mkdir(parents=True)
    (folder / "classes.txt").write_text("".join(f"class-{number:03d}\n" for number in range(CLASSES)))
    for first in range(0, count, a_shard):
        with tarfile.open(folder / f"shard-{first // a_shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(first, min(first + a_shard, count)):
                data = photo(number % BASES)
                for name, content in (
                    (f"{number:07d}.jpg", data),
                    (f"{number:07d}.cls", b"%d" % (number % CLASSES)),
                ):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def photo(number: int) -> bytes:
    """Bytes that differ; they are never decoded here."""
    return b"\xff\xd8\xff" + b"%07d" % number


if __name__ == "__main__":
    main()
