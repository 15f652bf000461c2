"""Near-duplicates in clothing-small: how many transformed copies are found, how many pairs are flagged in vain.

Copies are made of ``--photos`` photos, a transformation at a time, and looked for among all photos of the folder,
as ``check`` does it. A copy counts as found where its pair with its own original is. Then all pairs that are
flagged among the photos themselves are counted and, with ``--sheet``, drawn side by side; beside them stand those
that a plain 64-bit difference hash flags at a distance of 10.

    python benchmarks/near_duplicates.py --shared ../shared --sheet sheets/
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from ledger import Ledger
from PIL import Image, ImageDraw

from deitft.core.keys import generator, key, permutation
from deitft.core.progress import Silent
from deitft.data.catalog import Catalog
from deitft.data.decode import decode_file
from deitft.data.inspect import inspect
from deitft.data.scan import scan

Rgb = npt.NDArray[np.uint8]
Change = Callable[[Rgb, np.random.Generator], Rgb]


def cropped(rgb: Rgb, left: float, top: float, right: float, bottom: float, *, light: float = 1.1) -> Rgb:
    """Without these shares of the sides, and brighter."""
    height, width = rgb.shape[:2]
    part = rgb[
        round(height * top) : round(height * (1 - bottom)), round(width * left) : round(width * (1 - right))
    ]
    return (part * light).clip(0, 255).astype(np.uint8)


def one_side(rgb: Rgb, draw: np.random.Generator) -> Rgb:
    """5 % off one side across and one along."""
    left, top = draw.choice([0, 0.05], 2).tolist()
    return cropped(rgb, left, top, 0.05 - left, 0.05 - top)


def burst(rgb: Rgb, draw: np.random.Generator) -> Rgb:
    """The next shot of a hand-held burst: turned up to 1.5 degrees, moved by 2 %, 4 % nearer, other noise."""
    height, width = rgb.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), draw.uniform(-1.5, 1.5), draw.uniform(1, 1.04))
    matrix[:, 2] += draw.uniform(-0.02, 0.02, 2) * (width, height)
    moved = cv2.warpAffine(rgb, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    shot = moved * draw.uniform(0.95, 1.05) + draw.normal(0, 4, rgb.shape)
    return shot.clip(0, 255).astype(np.uint8)


def half(rgb: Rgb, _: np.random.Generator) -> Rgb:
    """50 % of each side."""
    return np.asarray(
        Image.fromarray(rgb).resize((rgb.shape[1] // 2, rgb.shape[0] // 2), Image.Resampling.LANCZOS)
    )


CHANGES: dict[str, tuple[Change, int, float]] = {
    "re-encoded, quality 95 to 60": (lambda rgb, _: rgb, 60, 1.0),
    "resized to 50 %": (half, 90, 1.0),
    "crop 5 % (2.5 % each side), brightness +10 %": (lambda rgb, _: cropped(rgb, *4 * [0.025]), 90, 0.95),
    "crop 5 % (one side), brightness +10 %": (one_side, 90, 0.95),
    "crop 5 % off each side, brightness +10 %": (lambda rgb, _: cropped(rgb, *4 * [0.05]), 90, 0.95),
    "mirrored": (lambda rgb, _: np.ascontiguousarray(rgb[:, ::-1]), 90, 0.95),
    "burst shot": (burst, 90, 0.95),
}
"""Name -> (what is done, JPEG quality it is saved with, share that has to be found)."""


def main() -> None:
    """Copies, then the folder itself; one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sheet", type=Path, help="a folder for pictures of all flagged pairs")
    asked = parser.parse_args()
    root = asked.shared / "data" / "clothing-small"
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        plain, seconds = seen(root, asked.workers, cache)
        chosen = np.sort(permutation(len(plain), "near duplicates")[: asked.photos]).tolist()
        found = {name: recall(plain, chosen, name, Path(scratch), asked.workers) for name in CHANGES}
        pairs = flagged(plain)
        if asked.sheet:
            sheets(plain, pairs, asked.sheet)
        record(plain, asked.photos, found, pairs, seconds)


def seen(root: Path, workers: int, cache: Path | None) -> tuple[Catalog, dict[str, float]]:
    """A folder as ``check`` reads it, and the seconds of reading and of looking for near-duplicates."""
    listed = scan(root, progress=Silent())
    began = time.perf_counter()
    inspect(listed, workers=workers, progress=Silent(), cache_dir=cache, near=False)
    middle = time.perf_counter()
    catalog = inspect(listed, workers=workers, progress=Silent(), cache_dir=cache)
    return catalog, {"read": middle - began, "near": time.perf_counter() - middle}


def recall(plain: Catalog, chosen: list[int], name: str, scratch: Path, workers: int) -> dict[str, float]:
    """Share of the copies whose pair with their original is found, among all photos of the folder."""
    change, quality, wanted = CHANGES[name]
    place = scratch / "both"
    (place / "copies").mkdir(parents=True, exist_ok=True)
    if not (place / "photos").exists():
        (place / "photos").mkdir()
        for row, path in enumerate(plain.paths):
            (place / "photos" / f"{row:06d}.jpg").hardlink_to(_copy(plain, path, scratch, row))
    for row in chosen:
        rgb = decode_file(plain.root / plain.paths[row])
        if name.startswith("re-encoded"):
            rgb = _through_jpeg(rgb, 95, scratch)
        changed = change(rgb, generator(key(name[:16], row)))
        Image.fromarray(changed).save(place / "copies" / f"{row:06d}.jpg", quality=quality)
    catalog, _ = seen(place, workers, scratch / "cache")
    names = [(path.split("/")[0], int(Path(path).stem)) for path in catalog.paths]
    ends = zip(catalog.pairs.first.tolist(), catalog.pairs.second.tolist(), strict=True)
    hits = set()
    for one, other in ends:
        (folder, number), (other_folder, other_number) = names[one], names[other]
        if folder != other_folder and number == other_number:
            hits.add(number)
    share = len(hits) / len(chosen)
    print(f"{name}: {share:.1%} of {len(chosen)} found", flush=True)
    return {"found": len(hits), "copies": len(chosen), "recall": share, "wanted": wanted}


def _copy(plain: Catalog, path: str, scratch: Path, row: int) -> Path:
    target = scratch / "originals" / f"{row:06d}.jpg"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes((plain.root / path).read_bytes())
    return target


def _through_jpeg(rgb: Rgb, quality: int, scratch: Path) -> Rgb:
    file = scratch / "through.jpg"
    Image.fromarray(rgb).save(file, quality=quality)
    return decode_file(file)


def flagged(plain: Catalog) -> list[dict[str, object]]:
    """Every pair that is flagged among the photos themselves."""
    near, names = plain.pairs, plain.classes
    return [
        {
            "paths": [plain.paths[one], plain.paths[other]],
            "labels": [names[plain.labels[one]], names[plain.labels[other]]],
            "distance": round(float(distance), 5),
            "mirrored": bool(mirrored),
        }
        for one, other, distance, mirrored in zip(
            near.first.tolist(), near.second.tolist(), near.distance, near.mirrored, strict=True
        )
    ]


def difference_hash_pairs(plain: Catalog) -> tuple[int, int]:
    """(pairs, photos of the largest group) of a plain 64-bit difference hash at a distance of at most 10."""
    bits = np.stack([_difference_hash(plain.root / path) for path in plain.paths])
    packed = np.packbits(bits, axis=1).view(np.uint64).ravel()
    ends: list[npt.NDArray[np.int64]] = []
    for row in range(len(packed) - 1):
        near = np.flatnonzero(np.bitwise_count(packed[row + 1 :] ^ packed[row]) <= 10) + row + 1
        ends.append(np.stack((np.full(len(near), row), near)))
    pairs = np.concatenate(ends, axis=1)
    return pairs.shape[1], _largest(pairs, len(packed))


def _difference_hash(path: Path) -> npt.NDArray[np.bool_]:
    grey = Image.open(path).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey)
    bits: npt.NDArray[np.bool_] = (pixels[:, 1:] > pixels[:, :-1]).ravel()
    return bits


def _largest(pairs: npt.NDArray[np.int64], count: int) -> int:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(pairs.shape[1], np.int8), tuple(pairs)), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    return int(np.bincount(part).max())


def sheets(
    plain: Catalog, pairs: list[dict[str, object]], folder: Path, *, side: int = 220, each: int = 24
) -> None:
    """Pictures with ``each`` pairs, side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(0, len(pairs), each):
        some = pairs[at : at + each]
        columns = min(4, len(some))
        page = Image.new("RGB", (columns * (2 * side + 12), -(-len(some) // columns) * (side + 18)), "white")
        draw = ImageDraw.Draw(page)
        for number, pair in enumerate(some):
            x, y = number % columns * (2 * side + 12), number // columns * (side + 18)
            draw.text((x, y + 2), f"{at + number}  {pair['distance']}  {pair['labels']}", fill="black")
            for place, path in enumerate(pair["paths"]):  # type: ignore[arg-type, var-annotated]
                photo = Image.fromarray(decode_file(plain.root / path, at_least=side))
                photo.thumbnail((side, side))
                page.paste(photo, (x + place * side, y + 16))
        page.save(folder / f"flagged-{at // each:02d}.png")


def record(
    plain: Catalog,
    photos: int,
    found: dict[str, dict[str, float]],
    pairs: list[dict[str, object]],
    seconds: dict[str, float],
) -> None:
    """Write it down."""
    ends = np.stack((plain.pairs.first, plain.pairs.second))
    hashed, largest_hashed = difference_hash_pairs(plain)
    held = all(row["recall"] >= row["wanted"] for row in found.values())
    largest = _largest(ends, len(plain))
    print(f"{len(pairs)} pairs flagged of {len(plain) * (len(plain) - 1) // 2:,}, largest group {largest}")
    print(f"a difference hash at 10: {hashed} pairs, largest group {largest_hashed}")
    ledger = Ledger("near-duplicates")
    ledger.add(
        f"near-duplicates-{len(ledger.rows) + 1}",
        {
            "subject": {"data": "clothing-small", "photos": len(plain), "copied": photos},
            "recall": found,
            "recall_held": held,
            "flagged": pairs,
            "largest_group": largest,
            "difference_hash_at_10": {"pairs": hashed, "largest_group": largest_hashed},
            "seconds": seconds,
        },
    )


if __name__ == "__main__":
    main()
