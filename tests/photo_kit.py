"""Photos with real faults, written as real bytes; and proof that judging them changes nothing on disk."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deitft.core.progress import Silent
from deitft.data.audit import Findings, audit
from deitft.data.catalog import Catalog
from deitft.data.inspect import inspect
from deitft.data.scan import scan
from deitft.errors import DeitftError, Notice


def picture(seed: int = 0, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture without symmetry: two ramps, a bright corner, a little noise. ``size`` is width, height."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([x * 200 / width, y * 200 / height, np.full((height, width), 60.0)], axis=-1)
    ramps[: height // 3, : width // 4] = (250, 240, 20)
    noise = np.random.default_rng(seed).normal(0, 6, ramps.shape)
    return Image.fromarray((ramps + noise + 10 * (seed % 5)).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """An image's file content."""
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return out.getvalue()


def jpeg(seed: int = 0, size: tuple[int, int] = (48, 40)) -> bytes:
    """A small valid JPEG, different for each seed."""
    return encoded(picture(seed, size))


def scene(seed: int = 0, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """``picture`` of another place for each seed: no two are nearly the same."""
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    place = Image.fromarray(blocks).resize(size, Image.Resampling.BILINEAR)
    both = np.asarray(picture(seed, size)).astype(float) + (np.asarray(place).astype(float) - 128)
    return Image.fromarray(both.clip(0, 255).astype(np.uint8))


def write_classes(root: Path, counts: dict[str, int], *, seed: int = 0, size: tuple[int, int] = (24, 20)) -> Path:
    """Class folders (or "train/a" paths) of different small JPEGs, named 000.jpg, 001.jpg, …"""
    number = 1000 * seed
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for photo in range(count):
            number += 1
            (root / name / f"{photo:03d}.jpg").write_bytes(encoded(scene(number, size)))
    return root


def put(root: Path, path: str, data: bytes) -> Path:
    """Write one file, its folder too."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def state_of(root: Path) -> dict[str, tuple[object, ...]]:
    """Every entry below a folder: mode, times, size, content."""
    state = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        state[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_size, digest)
    return state


@contextmanager
def untouched(root: Path) -> Iterator[None]:
    """Nothing below ``root`` is written, renamed or touched in this block."""
    before = state_of(root)
    yield
    assert state_of(root) == before


def read(root: Path, *, cache_dir: Path | None = None) -> Catalog:
    """Scan and inspect, and nothing on disk changed."""
    with untouched(root):
        found = scan(root, progress=Silent())
        return inspect(found, workers=1, progress=Silent(), cache_dir=cache_dir)


def judge(root: Path, **options: bool) -> tuple[Catalog, Findings]:
    """Scan, inspect, audit."""
    catalog = read(root)
    return catalog, audit(catalog, **options)


def said(catalog: Catalog, findings: Findings) -> list[tuple[str, str, str]]:
    """(id, severity, line) of everything a person is told."""
    notices: list[Notice] = [*catalog.notices, *(finding.notice() for finding in findings)]
    return [(notice.id, notice.severity, notice.line) for notice in notices]


def refused(root: Path, **options: bool) -> DeitftError:
    """The error that stops a run on this folder; anything else fails the test."""
    with pytest.raises(DeitftError) as caught:
        judge(root, **options)[1].raise_errors()
    assert "\n" not in caught.value.line
    return caught.value


def clean(root: Path, id: str) -> None:
    """The control: without the fault there is no error and no word with this id."""
    catalog, findings = judge(root)
    findings.raise_errors()
    assert [line for found, _, line in said(catalog, findings) if found == id] == []
