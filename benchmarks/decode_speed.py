"""Photos a second that one core decodes: ours, Pillow, timm's reader, torchvision and OpenCV, side by side.

JPEGs of 0.1, 1 and 12 megapixels are made of photos of clothing-small (resized, or put side by side and enlarged,
with a little noise; quality 90, the same bytes each time), and the photos as they are stand beside them. One
process, one thread, files in the system's cache, a round of all ways after the other. ``decode`` is from the
file to an array; ``view`` goes on to the square of 224 px that is evaluated, for each with the same code, only
timm's with its own. ``ours, audit`` is what a check does of a photo: read whole at a reduced scale, and looked at.

Of each way it is said how far its view is from that of Pillow's full decode, in levels of 0 to 255, and whether
the decoded pixels are the same. A way that is not installed is left out.

    python benchmarks/decode_speed.py --shared ../shared --rounds 9
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
from command import ledger_of
from photos import clothing
from PIL import Image
from torch import Tensor

from deitft.core.keys import generator, key
from deitft.data.crops import Pixels
from deitft.data.decode import decode_file, examine
from deitft.data.jpeg import jpeg_scale
from deitft.data.transforms import EvalTransform, needed_side
from deitft.recipe.preprocessing import Preprocessing

PRE = Preprocessing(crop_share=1.0)
VIEW = EvalTransform(PRE)
REFERENCE = "Pillow, full"
SETS: dict[str, tuple[tuple[int, int] | None, int, int]] = {
    "as they are": (None, 1, 60),
    "0.1 megapixels": ((274, 365), 1, 60),
    "1 megapixel": ((866, 1155), 1, 24),
    "12 megapixels": ((3000, 4000), 3, 6),
}
"""Name -> (width and height, photos side by side a row and a column, how many are made)."""
NOISE, QUALITY = 2.0, 90
MODULES = {"opencv-python-headless": "cv2", "simplejpeg": "simplejpeg"}
Decode = Callable[[Path], Pixels]
Run = Callable[[Path], object]


def main() -> None:
    """One set of photos after the other, each a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--place", type=Path, default=Path("runs/decode-speed"))
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="two photos, two rounds; records under --place")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    ledger = ledger_of(asked, "decode-speed")
    for name in asked.sets:
        id = f"decode-speed-{name.replace(' ', '-')}"
        if id not in ledger:
            with tempfile.TemporaryDirectory() as scratch:
                files = make(name, clothing(asked.shared), Path(scratch), 2 if asked.smoke else None)
                ledger.add(id, measure(name, files, 2 if asked.smoke else asked.rounds))
        tell(name, ledger.rows[id])


def make(name: str, source: Path, scratch: Path, count: int | None) -> list[Path]:
    """The photos of a set, in a folder of one class: pixels are a function of the photos and a key."""
    size, across, wanted = SETS[name]
    originals = sorted((source / "train").glob("*/*.jpg"))
    originals = originals[:: len(originals) // (wanted * across**2)]
    folder = scratch / "photos"
    folder.mkdir()
    for number in range(count or wanted):
        file = folder / f"{number:03d}.jpg"
        if size is None:
            file.write_bytes(originals[number].read_bytes())
        else:
            some = originals[number * across**2 : (number + 1) * across**2]
            together(some, size, across, number).save(file, quality=QUALITY)
    return sorted(folder.iterdir())


def together(some: list[Path], size: tuple[int, int], across: int, number: int) -> Image.Image:
    """Photos in ``across`` rows and columns, enlarged to ``size`` in all, and a little noise."""
    page = Image.new("RGB", size)
    width, height = size[0] // across + 1, size[1] // across + 1
    for place, path in enumerate(some):
        with Image.open(path) as photo:
            part = photo.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        page.paste(part, (place % across * width, place // across * height))
    draw = generator(key("decode speed", *size, number))
    noise = draw.normal(0, NOISE, (size[1], size[0], 1)).astype(np.float32)
    return Image.fromarray((np.asarray(page) + noise).clip(0, 255).astype(np.uint8))


def decoders(files: list[Path]) -> dict[str, Decode]:
    """From a file to an RGB array [H, W, 3], by name."""
    theirs = timm.data.ImageDataset(str(files[0].parent.parent))
    rows = {Path(theirs.filename(row, absolute=True)): row for row in range(len(theirs))}
    io = importlib.import_module("torchvision.io")

    def torchvisions(path: Path) -> Pixels:
        planes: Tensor = io.decode_jpeg(io.read_file(str(path)), io.ImageReadMode.RGB)
        return np.ascontiguousarray(planes.permute(1, 2, 0).numpy())

    found: dict[str, Decode] = {
        "ours, view": lambda path: decode_file(path, at_least=needed_side(PRE)),
        "ours, full": decode_file,
        REFERENCE: pillow,
        "Pillow, draft": lambda path: pillow(path, draft=PRE.resize_to),
        "timm's reader": lambda path: np.asarray(theirs[rows[path]][0]),
        "torchvision": torchvisions,
        "OpenCV, full": lambda path: opencv(path, cv2.IMREAD_COLOR),
        "OpenCV, reduced": opencv_reduced,
    }
    if importlib.util.find_spec("simplejpeg"):
        simplejpeg = importlib.import_module("simplejpeg")
        found["simplejpeg, full"] = lambda path: simplejpeg.decode_jpeg(path.read_bytes())
    return found


def pillow(path: Path, draft: int | None = None) -> Pixels:
    """Open and convert; ``draft``: at the smallest scale that leaves so many pixels a side."""
    with Image.open(path) as image:
        if draft is not None:
            image.draft("RGB", (draft, draft))
        return np.asarray(image.convert("RGB"))


def opencv(path: Path, how: int) -> Pixels:
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), how)
    assert bgr is not None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def opencv_reduced(path: Path) -> Pixels:
    """At the scale that our view allows."""
    with Image.open(path) as image:
        scale = jpeg_scale(*image.size, needed_side(PRE))
    reduced = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    return opencv(path, reduced.get(scale, cv2.IMREAD_COLOR))


def ways(files: list[Path], decoded: Mapping[str, Decode]) -> dict[str, Run]:
    """All that is timed, by "decode" or "view" and the name of the decoder."""
    transform = timm.data.create_transform(
        (3, PRE.size, PRE.size), interpolation=PRE.interpolation, crop_pct=PRE.crop_share, normalize=False
    )
    theirs = timm.data.ImageDataset(str(files[0].parent.parent), transform=transform)
    rows = {Path(theirs.filename(row, absolute=True)): row for row in range(len(theirs))}
    found: dict[str, Run] = {f"decode, {name}": run for name, run in decoded.items()}
    found["decode, ours, audit"] = lambda path: examine(path.read_bytes())
    for name, run in decoded.items():
        found[f"view, {name}"] = lambda path, run=run: VIEW(run(path))  # type: ignore[misc]
    found["view, timm's reader"] = lambda path: theirs[rows[path]][0]
    return found


def measure(name: str, files: list[Path], rounds: int) -> dict[str, Any]:
    """Samples of all ways in seconds for all files, a round of each in turn, another one first each time."""
    decoded = decoders(files)
    timed = ways(files, decoded)
    apart = {way: distance(files, decoded, timed, way) for way in decoded}  # and so everything is warm
    samples: dict[str, list[float]] = {way: [] for way in timed}
    work: dict[str, list[float]] = {way: [] for way in timed}
    loads, order = [], list(timed)
    for number in range(rounds):
        loads.append(os.getloadavg()[0])
        first = number * len(order) // rounds
        for way in order[first:] + order[:first]:
            run, cpu, began = timed[way], time.process_time(), time.perf_counter()
            for file in files:
                run(file)
            samples[way].append(time.perf_counter() - began)
            work[way].append(time.process_time() - cpu)
    pixels = statistics.mean(int(np.prod(pillow(file).shape[:2])) for file in files)
    size = statistics.mean(file.stat().st_size for file in files)
    return {
        "subject": {"photos": name, "count": len(files), "mean_pixels": pixels, "mean_bytes": size},
        "metric": {"name": "photos a second of one core", "direction": "higher"},
        "samples": samples,
        "processor_samples": work,
        "photos_a_second": {way: rates(len(files), values) for way, values in samples.items()},
        "photos_a_processor_second": {way: rates(len(files), values) for way, values in work.items()},
        "from_pillow": apart,
        "versions": versions(),
        "loads": loads,
    }


def versions() -> dict[str, str]:
    """Of the decoders that are not in every record."""
    names = [name for name in ("opencv-python-headless", "simplejpeg") if importlib.util.find_spec(MODULES[name])]
    return {name: importlib.metadata.version(name) for name in names}


def rates(count: int, seconds: list[float]) -> dict[str, float]:
    """Median and extremes of photos a second."""
    found = [count / value for value in seconds]
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def distance(
    files: list[Path], decoded: Mapping[str, Decode], timed: Mapping[str, Run], way: str
) -> dict[str, Any]:
    """How far the views of a way are from those of the reference, and whether all decoded pixels are the same."""
    largest, same = 0.0, True
    means: list[float] = []
    for file in files:
        view, reference = timed[f"view, {way}"](file), timed[f"view, {REFERENCE}"](file)
        assert isinstance(view, Tensor)
        assert isinstance(reference, Tensor)
        apart = (view.float() - reference.float()).abs()
        largest = max(largest, apart.max().item())
        means.append(apart.mean().item())
        same = same and np.array_equal(decoded[way](file), decoded[REFERENCE](file))
    return {"max": largest, "mean": statistics.mean(means), "same_pixels": same}


def tell(name: str, row: Mapping[str, Any]) -> None:
    """The figures of one set."""
    print(f"{name}: {row['subject']['mean_pixels'] / 1e6:.2f} megapixels, {row['subject']['count']} photos")
    for way, rate in row["photos_a_processor_second"].items():
        apart = row["from_pillow"].get(way.partition(", ")[2])
        text = "" if apart is None else f"  apart {apart['max']:.0f} at most, {apart['mean']:.3f} on average"
        text += "  the same pixels" if apart and apart["same_pixels"] else ""
        print(f"  {way:24} {rate['median']:8.1f} a second ({rate['min']:.1f} to {rate['max']:.1f}){text}")


if __name__ == "__main__":
    main()
