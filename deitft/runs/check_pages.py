"""A check as the data of its page: findings with their photos, classes, what the photos are like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deitft.core.records import command_line, now
from deitft.core.units import format_bytes
from deitft.data.catalog import SPLIT_NAMES, TEST, TRAIN, VAL, Catalog
from deitft.reporting.check_data import CheckPage
from deitft.runs.check_album import CHECK, Album, parts_of
from deitft.runs.check_files import FIXES, default_out

if TYPE_CHECKING:
    from deitft.runs.checking import CheckResult


def page_of(result: CheckResult, album: Album) -> CheckPage:
    """What the page of a result shows."""
    catalog = result.catalog
    return CheckPage(
        title=result.data.name,
        n=len(catalog),
        classes=catalog.classes,
        ok=result.ok,
        parts=parts_of(result.findings, album, CHECK),
        made=now(),
        fingerprint=catalog.fingerprint,
        left_out=len(result.left_out),
        counts=class_counts(result),
        note=result.prepared.splits.note if result.prepared is not None else "",
        facts=photo_facts(catalog),
        command=command_line(),
        train_command=result.train_command,
        apply_command=_apply_command(result),
        fixes=result.undecided,
        fixes_file=str(result.out / FIXES),
    )


def _apply_command(result: CheckResult) -> list[str]:
    """What applies the decisions, accepts the same photos and shows what came of it."""
    words = ["deitft", "check", *result.data.words(), *result.allowed, "--apply-labels", str(result.out / FIXES)]
    words.append("--html")
    if result.out != default_out(result.data):
        words += ["--out", str(result.out)]
    return words


def class_counts(result: CheckResult) -> dict[str, list[int]]:
    """Photos of each class on each side a run would give them; where it would not run, of each class."""
    size = len(result.catalog.classes)
    if result.prepared is None:
        labels = result.catalog.labels
        return {"photos": np.bincount(labels[labels >= 0], minlength=size).tolist()}
    labels, splits = result.prepared.catalog.labels, result.prepared.splits
    return {
        SPLIT_NAMES[side]: np.bincount(labels[splits.indices(side)], minlength=size).tolist()
        for side in (TRAIN, VAL, TEST)
    }


def photo_facts(catalog: Catalog) -> list[tuple[str, str]]:
    """What the photos are like: how large, in bytes and in pixels."""
    read = np.flatnonzero((catalog.widths > 0) & (catalog.heights > 0))
    facts = [("Size on disk", format_bytes(int(catalog.sizes.sum())))]
    if len(read):
        widths, heights = catalog.widths[read].astype(np.int64), catalog.heights[read].astype(np.int64)
        middle, small, large = (int(read[place]) for place in _places(widths * heights))
        shapes = [(widths > heights).sum(), (widths < heights).sum(), (widths == heights).sum()]
        facts += [
            ("Typical photo", _sides(catalog, middle)),
            ("Smallest", _sides(catalog, small)),
            ("Largest", _sides(catalog, large)),
            ("Wide, tall, square", ", ".join(f"{count:,}" for count in shapes)),
        ]
    return facts


def _places(pixels: npt.NDArray[np.int64]) -> tuple[int, int, int]:
    """Where the median, the least and the most are."""
    order = np.argsort(pixels, kind="stable")
    return int(order[len(order) // 2]), int(order[0]), int(order[-1])


def _sides(catalog: Catalog, row: int) -> str:
    return f"{catalog.widths[row]:,} × {catalog.heights[row]:,} pixels"
