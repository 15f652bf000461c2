"""Facts for plans: a DeiT-S on a made-up folder, any of it replaceable."""

from __future__ import annotations

from typing import Any

from deitft.recipe.facts import Facts
from deitft.recipe.preprocessing import Preprocessing


def facts(photos: int = 3_000, **changes: Any) -> Facts:
    """Facts about ``photos`` train photos of two classes, 60 % and 40 %."""
    first = (photos * 6 + 9) // 10
    values: dict[str, Any] = {
        "classes": ("boot", "shoe"),
        "train_counts": (first, photos - first),
        "photos": {"train": photos, "val": max(1, photos // 10), "test": max(1, photos // 10)},
        "data": "/data/photos",
        "data_fingerprint": "f" * 64,
        "model": "deit_small_patch16_224.fb_in1k",
        "short_name": "deit_s",
        "weights": {"kind": "file", "path": "/weights/deit_s", "tag": "fb_in1k"},
        "pretrained": True,
        "family": "transformer",
        "parameters": 22_050_664,
        "depth": 12,
        "weights_preprocessing": Preprocessing(),
        "preferred_aspect": "crop",
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "workers": 1,
        "memory_bytes": 16_000_000_000,
        "seconds_per_image": None,
    }
    return Facts(**{**values, **changes})


MOBILENET: dict[str, Any] = {
    "model": "mobilenetv2_100.ra_in1k",
    "short_name": "mobilenetv2",
    "family": "convnet",
    "parameters": 3_504_872,
    "depth": 18,
}
"""Changes to ``facts`` that make the model a small convnet."""
