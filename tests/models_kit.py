"""Small real models and small weights folders, for the tests of the models' room."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from deitft.models.build import Classifier, build

VIT = {"depth": 2, "embed_dim": 24, "num_heads": 3}
"""A ViT of 30 thousand parameters; with 32 px images a grid of 2 x 2 patches of 16."""

DEIT = "deit_tiny_distilled_patch16_224.fb_in1k"
PLAIN = "deit_tiny_patch16_224.fb_in1k"


def tiny(name: str = DEIT, *, classes: int = 5, size: int = 32, overrides: Any = None, **more: Any) -> Classifier:
    """A shrunk model; ``overrides`` for those that are not a ViT."""
    return build(
        name, num_classes=classes, image_size=size, overrides=VIT if overrides is None else overrides, **more
    )


def images(count: int = 4, size: int = 32, seed: int = 0) -> Tensor:
    """Normalised noise [count, 3, size, size]."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def hub_folder(
    folder: Path, state: Mapping[str, Tensor], architecture: str, tag: str | None = None, **config: Any
) -> Path:
    """A folder in timm's hub layout."""
    folder.mkdir(parents=True, exist_ok=True)
    details = {"tag": tag, "input_size": [3, 32, 32], "license": "apache-2.0", **config.pop("pretrained_cfg", {})}
    value = {"architecture": architecture, "num_classes": 5, "pretrained_cfg": details, **config}
    (folder / "config.json").write_text(json.dumps(value))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    return folder
