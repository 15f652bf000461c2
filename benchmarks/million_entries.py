"""How long until the first training batch, and does memory stay flat, at as many photos as ImageNet has?

    python benchmarks/million_entries.py            # 1,280,000 entries, 2,000 batches
    python benchmarks/million_entries.py --count 20000 --batches 400 --to /tmp/entries --no-record

The entries are hard links to a few real JPEGs in 100 class folders. They are scanned, all of them train, and four
workers make the views of `pretrain-deit` (batches of 60 at 96 pixels: entries are counted, not pixels). Memory is
the proportional set size of this process and its workers together, after batch 100 and after the last.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

CLASSES, BASES, WARM = 100, 50, 100


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--count", type=int, default=1_280_000)
    words.add_argument("--batches", type=int, default=2_000)
    words.add_argument("--workers", type=int, default=4)
    words.add_argument("--to", type=Path, help="where to put the entries; left out: a temporary folder, removed")
    words.add_argument("--no-record", action="store_true", help="print only")
    asked = words.parse_args()
    place = asked.to or Path(tempfile.mkdtemp(prefix="entries-"))
    try:
        folder = place / str(asked.count)
        if not folder.exists():
            write(asked.count, folder)
        values = measure(folder, asked.batches, asked.workers)
    finally:
        if asked.to is None:
            shutil.rmtree(place, ignore_errors=True)
    print(json.dumps(values), flush=True)
    if not asked.no_record:
        from ledger import Ledger

        Ledger("million-entries").add(f"{asked.count}-{asked.batches}-{asked.workers}", values)


def write(count: int, folder: Path) -> None:
    """Hard links to photos of 128 x 96 pixels."""
    from PIL import Image

    bases = []
    for number in range(BASES):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).resize((128, 96)).save(out, "JPEG", quality=90)
        bases.append(folder / f"base-{number}.jpg")
        bases[-1].parent.mkdir(parents=True, exist_ok=True)
        bases[-1].write_bytes(out.getvalue())
    photos = folder / "photos"
    for number in range(CLASSES):
        (photos / f"class-{number:03d}").mkdir(parents=True)
    for number in range(count):
        os.link(bases[number % BASES], photos / f"class-{number % CLASSES:03d}" / f"photo-{number:07d}.jpg")


def measure(folder: Path, batches: int, workers: int) -> dict[str, object]:
    """Seconds of the scan and to the first batch after it, and memory on the way."""
    from deitft.core.progress import Silent
    from deitft.data.photos import photo_set
    from deitft.data.scan import scan
    from deitft.data.source import Source
    from deitft.data.stream import TrainStream

    began = time.perf_counter()
    catalog = scan(Source((folder / "photos",)), progress=Silent())
    scanned = time.perf_counter()
    photos = photo_set(catalog, np.arange(len(catalog)))
    stream = TrainStream(plan_for(len(catalog), catalog.classes, batches, workers), photos)
    found: dict[str, object] = {"entries": len(catalog), "workers": workers, "batches": batches}
    found["scan_seconds"] = round(scanned - began, 2)
    warm = last = 0.0
    for number, _ in enumerate(stream.from_step(0, batches), start=1):
        if number == 1:
            found["first_batch_seconds"] = round(time.perf_counter() - scanned, 2)
        if number == WARM:
            warm = proportional_megabytes()
        if number == batches - 2 * workers:  # the last requests are out: no worker has left yet
            last = proportional_megabytes()
    found |= {"megabytes_warm": round(warm), "megabytes_last": round(last)}
    return found | {"growth": round(last / warm - 1, 4) if warm else None}


def plan_for(photos: int, classes: tuple[str, ...], batches: int, workers: int):
    """`pretrain-deit` for so many photos, in small batches of small views."""
    from deitft.recipe.facts import Facts
    from deitft.recipe.load import load_recipe
    from deitft.recipe.plan import resolve
    from deitft.recipe.preprocessing import Preprocessing

    changes = ("train.batch=60", "train.micro_batch=60", "model.image_size=96")
    facts = Facts(
        classes=classes,
        train_counts=tuple(photos // len(classes) for _ in classes),
        photos={"train": photos, "val": 0, "test": 0},
        data="",
        data_fingerprint="",
        model="deit_tiny_distilled_patch16_224.fb_in1k",
        short_name="deit_ti",
        weights={"kind": "none"},
        pretrained=False,
        family="transformer",
        parameters=5_900_000,
        depth=12,
        weights_preprocessing=Preprocessing(size=96),
        preferred_aspect="crop",
        device="cpu",
        precision="fp32",
        threads=1,
        workers=workers,
        memory_bytes=8 << 30,
        seconds_per_image=None,
        fixed_size=False,
        linear_heads=True,
        two_heads=True,
        teachers=(),
    )
    return resolve(load_recipe("pretrain-deit", overrides=changes), facts, seed=0, max_steps=batches)


def proportional_megabytes() -> float:
    """Of this process and its children: what is shared is counted once."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 1e6


if __name__ == "__main__":
    main()
