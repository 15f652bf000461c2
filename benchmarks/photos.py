"""Photos for measurements: folders drawn from the shared ones, and who was right photo by photo."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deitft.core.keys import permutation

SPLITS = ("train", "validation", "test")


def clothing(shared: Path) -> Path:
    """The 3,781 photos in their three splits."""
    return shared / "data" / "clothing-small"


def by_class(root: Path) -> dict[str, list[Path]]:
    """Every photo of all splits, by class, in an order that is the same everywhere."""
    found: dict[str, list[Path]] = {}
    for split in SPLITS:
        for path in (root / split).glob("*/*.jpg"):
            found.setdefault(path.parent.name, []).append(path)
    return {name: sorted(found[name], key=lambda path: path.name) for name in sorted(found)}


def draw(
    root: Path, size: int, seed: int, *, photos: Mapping[str, Sequence[Path]] | None = None
) -> dict[str, list[Path]]:
    """``size`` photos in the proportions of the classes; a smaller draw of the same seed lies in a larger one.

    ``photos`` by class are those to draw from; left out: all of all splits.
    """
    photos = photos or by_class(root)
    total = sum(map(len, photos.values()))
    shares = {name: size * len(paths) / total for name, paths in photos.items()}
    counts = {name: int(share) for name, share in shares.items()}
    by_rest = sorted(shares, key=lambda name: (counts[name] - shares[name], name))
    for name in by_rest[: size - sum(counts.values())]:
        counts[name] += 1
    chosen = {}
    for number, (name, paths) in enumerate(photos.items()):
        order = permutation(len(paths), "small-data", seed, number)
        chosen[name] = [paths[index] for index in order[: counts[name]]]
    return chosen


def write_folder(folder: Path, placed: Mapping[str, Iterable[Path]]) -> Path:
    """Photos by sub-folder ("train/hat" -> paths) as hard links, or copies where there can be none.

    A folder that is there is complete, and stays.
    """
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for below, paths in placed.items():
        (part / below).mkdir(parents=True)
        for path in paths:
            try:
                os.link(path, part / below / path.name)
            except OSError:
                shutil.copyfile(path, part / below / path.name)
    part.rename(folder)
    return folder


def with_test(root: Path, folder: Path, size: int, seed: int) -> Path:
    """A draw as ``train/``, and every photo that is not in it as ``test/``."""
    chosen = draw(root, size, seed)
    placed: dict[str, list[Path]] = {f"train/{name}": paths for name, paths in chosen.items()}
    for name, paths in by_class(root).items():
        placed[f"test/{name}"] = sorted(set(paths) - set(chosen[name]))
    return write_folder(folder, placed)


def plain(root: Path, folder: Path, size: int, seed: int) -> Path:
    """A draw as one folder a class, without splits."""
    return write_folder(folder, draw(root, size, seed))


def of_study(asked: argparse.Namespace) -> Path:
    """The photos of a study: clothing-small; to try a script (``--smoke``) a few of them."""
    whole = clothing(asked.shared)
    return few(whole, asked.place / "few") if asked.smoke else whole


def few(root: Path, folder: Path) -> Path:
    """Ten train, four val and four test photos a class: to try a script."""
    placed = {}
    for split, count in zip(SPLITS, (10, 4, 4), strict=True):
        for below in sorted(path for path in (root / split).iterdir() if path.is_dir()):
            placed[f"{split}/{below.name}"] = sorted(below.glob("*.jpg"))[:count]
    return write_folder(folder, placed)


def digest(path: Path) -> str:
    """SHA-256 of a photo's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digests(paths: Iterable[Path]) -> list[str]:
    """SHA-256 of each photo's content."""
    return [digest(path) for path in paths]


def verdicts(right: Mapping[str, bool], universe: Sequence[str] | None = None) -> dict[str, str]:
    """Who was right, one character a photo: 1 right, 0 wrong, . not judged.

    ``right``: by SHA-256 of content. The characters are in the order of the sorted SHA-256 of ``universe`` (left
    out: of what was judged); "photos" is the SHA-256 of that list, one a line. Same "photos", same order.

    Raises:
        KeyError: a photo that was judged is not in the universe.
    """
    order = sorted(set(right if universe is None else universe))
    unknown = right.keys() - set(order)
    if unknown:
        raise KeyError(min(unknown))
    marks = {True: "1", False: "0", None: "."}
    return {
        "photos": hashlib.sha256("\n".join(order).encode()).hexdigest(),
        "right": "".join(marks[right.get(name)] for name in order),
    }


def forget(folder: Path) -> None:
    """Remove a folder of an attempt that is to be repeated."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
