"""The folder that a page is run in: photos, weights, a finished run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deitft.cli.app import main
from deitft.data.digits import write_digits

CLASSES = {"0": "dress", "1": "hat", "2": "shoe"}
"""Digits in the place of products: as many photos as one likes, and never another's."""
A_CLASS = 80
"""Photos of each class in ``photos``."""


def furnish(folder: Path) -> Path:
    """Photos in ``folder``: some in ``photos``, the others in ``more-photos``, numbered; loose ones in ``new``."""
    digits = write_digits(folder / "digits")
    for digit, name in CLASSES.items():
        for place in ("photos", "more-photos"):
            (folder / place / name).mkdir(parents=True)
        for number, file in enumerate(sorted((digits / digit).iterdir()), start=1):
            place = "photos" if number <= A_CLASS else "more-photos"
            shutil.copy(file, folder / place / name / f"{number:04d}.png")
    (folder / "new").mkdir()
    for file, name in zip(sorted((digits / "3").iterdir())[:3], ("back", "front", "side"), strict=True):
        shutil.copy(file, folder / "new" / f"{name}.png")
    shutil.rmtree(digits)
    return folder


def train(folder: Path, words: list[str]) -> Path:
    """A small run in ``folder``, the working directory; its bundle is a weights folder, too."""
    assert main(["finetune", "photos", *words]) == 0
    bundle = folder / "runs" / "finetune-1" / "best"
    weights = folder / "weights" / "deit_tiny_distilled_patch16_224.fb_in1k"
    weights.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        os.link(bundle / name, weights / name)
    return folder


def copy_place(place: Path, to: Path, *, runs: bool) -> None:
    """The same for one page. Files are linked: nothing of ours is ever written in place."""
    left_out = shutil.ignore_patterns() if runs else shutil.ignore_patterns("runs")
    shutil.copytree(place, to, copy_function=os.link, ignore=left_out, dirs_exist_ok=True)
