"""Plans and photo sets, small, for the tests of the data room."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deitft.data.photos import PhotoSet
from deitft.recipe.plan_types import AugmentPlan, LossPlan, MixingPlan, OptimPlan, Plan
from deitft.recipe.preprocessing import Preprocessing

CLASSES = ("boots", "hat", "shoes")


def augment_plan(**changes: Any) -> AugmentPlan:
    """The light policy, with changes."""
    values: dict[str, Any] = {
        "policy": "light",
        "magnitude": 9.0,
        "magnitude_std": 0.5,
        "operations": 2,
        "crop": "random_resized",
        "scale": (0.35, 1.0),
        "ratio": (0.75, 4 / 3),
        "flip": 0.5,
        "vertical_flip": 0.0,
        "color_jitter": 0.3,
        "erasing": 0.25,
        "repeats": 1,
        "albumentations": (),
    }
    return AugmentPlan(**(values | changes))


def mixing_plan(mixup: float = 0.8, cutmix: float = 1.0, chance: float = 1.0, switch: float = 0.5) -> MixingPlan:
    return MixingPlan(mixup=mixup, cutmix=cutmix, chance=chance, switch=switch)


def train_plan(
    *, augment: Mapping[str, Any] | None = None, mixing: MixingPlan | None = None, size: int = 24, **changes: Any
) -> Plan:
    """A plan of three classes at 24 pixels, with changes."""
    optim = OptimPlan(
        name="adamw",
        lr=1e-3,
        weight_decay=0.05,
        betas=(0.9, 0.999),
        eps=1e-8,
        momentum=0.9,
        layer_decay=1.0,
        clip_norm=None,
        warmup_steps=0,
        schedule="cosine",
        final_lr_share=0.0,
    )
    values: dict[str, Any] = {
        "recipe": "test",
        "seed": 3,
        "model": "none",
        "short_name": None,
        "trainable": "all",
        "head_start": "random",
        "drop_path": 0.0,
        "weights": {"kind": "none"},
        "preprocessing": Preprocessing(size=size, crop_share=0.9),
        "data": "photos",
        "data_fingerprint": "",
        "classes": CLASSES,
        "train_counts": (4, 4, 4),
        "photos": {"train": 12, "val": 0, "test": 0},
        "balance": "none",
        "total_steps": 10,
        "steps_per_epoch": 3,
        "batch": 4,
        "micro_batch": 4,
        "train_size": size,
        "full_size_from_step": 0,
        "validate_every": 3,
        "patience": None,
        "select_by": "top1",
        "log_every": 1,
        "save_every_seconds": 300.0,
        "keep_checkpoints": 2,
        "device": "cpu",
        "precision": "fp32",
        "channels_last": False,
        "compile": False,
        "threads": 1,
        "workers": 0,
        "optim": optim,
        "augment": augment_plan(**(augment or {})),
        "mixing": mixing or mixing_plan(),
        "loss": LossPlan(name="cross_entropy", label_smoothing=0.0, class_weights=None, logit_adjustment=0.0),
        "ema_decay": None,
        "ema_warmup": True,
    }
    return Plan(**(values | changes))


def picture(seed: int, width: int = 40, height: int = 32) -> np.ndarray:
    """Smooth random colours: something that resizing keeps recognisable."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def write_photos(root: Path, count: int, *, digests: bool = True) -> PhotoSet:
    """``count`` photos in turn of the three classes."""
    paths, contents = [], []
    for number in range(count):
        path = f"{CLASSES[number % 3]}/{number:03d}.jpg"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(root / path, quality=92)
        paths.append(path)
        contents.append(hashlib.sha256((root / path).read_bytes()).digest())
    labels = np.arange(count, dtype=np.int64) % 3
    return PhotoSet(root, paths, labels, contents if digests else None)
