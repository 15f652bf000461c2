"""Mixup, cutmix and erasing, as functions of a key.

Sources: mixup arXiv 1710.09412, cutmix arXiv 1905.04899, random erasing arXiv 1708.04896, in the form DeiT used
them (timm's, "batch" mode). One difference, on purpose: timm mixes photo i with photo B - 1 - i, here it is
mixed with i XOR 1. Pairs are neighbours, so no even micro-batch and no process ever needs a photo of another, and
mixing a slice equals slicing the mix.

Legend: B images, C classes, S pixels a side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deitft.core import keys
from deitft.errors import RecipeError
from deitft.recipe.plan_types import MixingPlan

ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 1 / 0.3)


class Mix(NamedTuple):
    """What one step does: the share of itself a photo keeps, and for cutmix the box (top, bottom, left, right)."""

    share: float
    box: tuple[int, int, int, int] | None


def draw_mix(step_key: int, mixing: MixingPlan, size: int) -> Mix:
    """The one lambda, and for cutmix the one box, of a step. Share 1 is no mixing.

    Cutmix's share is corrected to the area the box really covers, borders counted.
    """
    draw = keys.generator(step_key)
    if not mixing.on or draw.random() >= mixing.chance:
        return Mix(1.0, None)
    cut = mixing.cutmix > 0 and (mixing.mixup <= 0 or draw.random() < mixing.switch)
    beta = mixing.cutmix if cut else mixing.mixup
    share = float(draw.beta(beta, beta))
    if not cut:
        return Mix(share, None)
    box = cutmix_box(share, size, draw.random(), draw.random())
    top, bottom, left, right = box
    return Mix(1.0 - (bottom - top) * (right - left) / (size * size), box)


def cutmix_box(share: float, size: int, down: float, across: float) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a square of area 1 - share around a random middle, clipped to the picture.

    ``down`` and ``across``, in [0, 1), place the middle.
    """
    side = int(size * math.sqrt(1 - share))
    middles = int(down * size), int(across * size)
    edges = [(max(middle - side // 2, 0), min(middle + (side + 1) // 2, size)) for middle in middles]
    return *edges[0], *edges[1]


def mix(images: Tensor, targets: Tensor, *, step_key: int, mixing: MixingPlan) -> tuple[Tensor, Tensor]:
    """Mix photos [B, 3, S, S] and targets [B, C] with their partners; what comes in is not changed.

    Raises:
        RecipeError: B is odd and something is to be mixed (id MIXING).
    """
    drawn = draw_mix(step_key, mixing, images.shape[-1])
    if drawn.share == 1.0:
        return images, targets
    if len(images) % 2:
        raise RecipeError(
            f"mixing pairs photos up, and a batch has {len(images)}", "make train.batch even", id="MIXING"
        )
    mixed_targets = targets * drawn.share + _partners(targets) * (1.0 - drawn.share)
    if drawn.box is None:
        return (images * drawn.share).add_(_partners(images), alpha=1.0 - drawn.share), mixed_targets
    top, bottom, left, right = drawn.box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = _partners(images[:, :, top:bottom, left:right])
    return mixed, mixed_targets


def _partners(values: Tensor) -> Tensor:
    """Row i XOR 1 in the place of row i."""
    return values.reshape(-1, 2, *values.shape[1:]).flip(1).reshape(values.shape)


def erasing_box(size: int, draw: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of the box to erase; None where none fits in ten tries."""
    low, high = math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1])
    for _ in range(10):
        area = size * size * (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * draw.random())
        aspect = math.exp(low + (high - low) * draw.random())
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height < size and width < size:
            top = int((size - height + 1) * draw.random())
            return top, int((size - width + 1) * draw.random()), height, width
    return None


def erase(images: Tensor, keys_of_views: Sequence[int], chance: float) -> Tensor:
    """Replace one box of a photo, with this chance, by normal noise, as DeiT ("pixel" mode, one box).

    ``images`` are normalised floats [B, 3, S, S] (noise of mean 0 and deviation 1 fits those), changed in place
    and given back. Box and noise come from each view's own key: they do not depend on the other photos.
    """
    if chance <= 0:
        return images
    for number, view_key in enumerate(keys_of_views):
        draw = keys.generator(keys.key("erase", view_key))
        if draw.random() >= chance:
            continue
        box = erasing_box(images.shape[-1], draw)
        if box is None:
            continue
        top, left, height, width = box
        noise = torch.from_numpy(draw.standard_normal((3, height, width), dtype=np.float32))
        images[number, :, top : top + height, left : left + width] = noise.to(images)
    return images
