"""The photos that comparisons are tried on, and runs of seconds."""

from __future__ import annotations

from pathlib import Path

from run_kit import write_photos

CLASSES = ("boot", "dress", "hat", "pants", "shirt", "shoe")
SHORT = ("model.image_size=32", "train.length=4 steps", "train.batch=16", "train.micro_batch=16")


def write_shop(folder: Path) -> Path:
    """Twenty photos of each class."""
    return write_photos(folder / "photos", 20, classes=CLASSES)
