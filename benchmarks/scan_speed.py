"""What a cold check costs: seconds of reading and judging a folder, against Pillow decoding the same files whole.

Rounds of both in turn, with the same number of processes and the files in the system's cache: ``check`` lists,
reads, hashes, decodes, looks for near-duplicates and judges, without a cache of its own; Pillow opens, decodes and
converts to RGB, and nothing else. Then the same check with its cache warm. Beside the seconds stand those of the
processors, of all processes: they say what the work costs where others keep the machine busy.

    python benchmarks/scan_speed.py --shared ../shared --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ledger import Ledger
from PIL import Image

from deitft.core.progress import Silent
from deitft.data.audit import audit
from deitft.data.inspect import inspect
from deitft.data.scan import scan

CHUNK = 32
Image.MAX_IMAGE_PIXELS = None


def main() -> None:
    """Measure both, A B A B …, and keep every sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--data", type=Path, help="another folder than clothing-small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    root = (asked.data or asked.shared / "data" / "clothing-small").resolve()
    files = [str(root / path) for path in scan(root, progress=Silent()).paths]
    for file in files:  # from the disk once, for both
        Path(file).read_bytes()
    samples: dict[str, list[float]] = {
        "pillow load": [],
        "pillow load and RGB": [],
        "check": [],
        "check, cached": [],
    }
    work: dict[str, list[float]] = {name: [] for name in samples}
    loads = []

    def measure(name: str, run: Callable[[], None]) -> None:
        before, began = processor_seconds(), time.perf_counter()
        run()
        samples[name].append(time.perf_counter() - began)
        work[name].append(processor_seconds() - before)

    for _ in range(asked.rounds):
        loads.append(os.getloadavg()[0])
        measure("pillow load", lambda: pillow(files, asked.workers, rgb=False))
        measure("check", lambda: check(root, asked.workers, None))
        measure("pillow load and RGB", lambda: pillow(files, asked.workers, rgb=True))
    with tempfile.TemporaryDirectory() as cache:
        check(root, asked.workers, Path(cache))
        for _ in range(asked.rounds):
            measure("check, cached", lambda: check(root, asked.workers, Path(cache)))
    ratios = {
        f"{kind}, {name}": [cold / plain for cold, plain in zip(of["check"], of[name], strict=True)]
        for kind, of in (("seconds", samples), ("processor seconds", work))
        for name in ("pillow load", "pillow load and RGB")
    }
    medians = {name: statistics.median(values) for name, values in samples.items()}
    print({name: round(value, 3) for name, value in medians.items()})
    for name, values in ratios.items():
        print(f"check / Pillow, {name}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    ledger = Ledger("scan-speed")
    ledger.add(
        f"scan-speed-{len(ledger.rows) + 1}",
        {
            "subject": {"data": root.name, "photos": len(files), "workers": asked.workers},
            "metric": {"name": "seconds", "direction": "lower"},
            "samples": samples,
            "processor_samples": work,
            "medians": medians,
            "photos_a_second_a_process": {
                name: len(files) / value / asked.workers for name, value in medians.items()
            },
            "ratio": {
                name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
                for name, values in ratios.items()
            },
            "loads": loads,
        },
    )


def processor_seconds() -> float:
    """Of this process and of those it has waited for."""
    return sum(os.times()[:4])


def check(root: Path, workers: int, cache: Path | None) -> None:
    """All that ``check`` does before it tells, without features."""
    listed = scan(root, progress=Silent(), cache_dir=cache)
    audit(inspect(listed, workers=workers, progress=Silent(), cache_dir=cache))


def pillow(files: list[str], workers: int, *, rgb: bool) -> None:
    """A plain decode of every file, as many processes, as many files handed over at once."""
    chunks = [files[at : at + CHUNK] for at in range(0, len(files), CHUNK)]
    work = _convert if rgb else _load
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        decoded = sum(pool.map(work, chunks))
    assert decoded == len(files)


def _load(files: list[str]) -> int:
    for file in files:
        with Image.open(file) as image:
            image.load()
    return len(files)


def _convert(files: list[str]) -> int:
    for file in files:
        with Image.open(file) as image:
            image.convert("RGB")
    return len(files)


if __name__ == "__main__":
    main()
