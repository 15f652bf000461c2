"""What the model sees of a photo: the evaluation view, and training views as functions of a key.

The only room for timm's RandAugment operations and for albumentations; both are imported when they are asked
for, since they take seconds. Legend: B images, H x W pixels, S pixels a side.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from deitft.core import keys
from deitft.data import albumentations_adapter, crops
from deitft.data.crops import Pixels
from deitft.recipe.plan_types import AugmentPlan
from deitft.recipe.preprocessing import Preprocessing

Policy = Callable[[Tensor, int], Tensor]
"""A uint8 square [3, S, S] and a key to a uint8 square."""

SHARPER = 3
"""A photo is decoded at a reduced scale only where it keeps this many times the pixels it is resized to.

Measured on photos of 12 megapixels: decoding and view 0.07 instead of 0.49 s, 0.2 levels apart on average and
3 at most. Where the height or width is odd the view may also move by half a pixel.
"""
_GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # ITU-R 601-2 luma, as Pillow and torchvision


class EvalTransform:
    """The view of evaluation and prediction: of one array, ``crop`` equals timm's transform bit for bit.

    ``crop``: shorter side to ``pre.resize_to``, centre square. ``pad``: the whole photo, background around it.
    ``squash``: the whole photo, stretched. In: a uint8 array [H, W, 3]. Out: a uint8 tensor [3, S, S].
    """

    def __init__(self, pre: Preprocessing) -> None:
        self.pre = pre

    def __call__(self, rgb: Pixels) -> Tensor:
        pre = self.pre
        if pre.aspect == "crop":
            square = crops.centre_square(rgb, pre.resize_to, pre.size, pre.interpolation)
        elif pre.aspect == "pad":
            square = crops.whole_square(rgb, pre.size, pre.interpolation, pre.background)
        else:
            square = crops.resize_as_pillow(rgb, pre.size, pre.size, pre.interpolation)
        return crops.planes_of(square)


class TrainTransform:
    """A training view: a pure function of the photo and a key, whoever calls it and whatever was drawn before.

    Crop, flips, then the policy. In: a uint8 array [H, W, 3] and the view's key. Out: a contiguous uint8 tensor
    [3, size, size].

    Raises:
        RecipeError: the albumentations list is wrong (id ALBUMENTATIONS).
    """

    def __init__(self, augment: AugmentPlan, pre: Preprocessing, size: int) -> None:
        self.augment, self.pre, self.size = augment, pre, size
        self._eval = EvalTransform(pre.at(size))
        self._policy = _policy(augment, pre, size)

    def __call__(self, rgb: Pixels, key: int) -> Tensor:
        draw = keys.generator(key)
        square = self._crop(rgb, draw)
        if draw.random() < self.augment.flip:
            square = square.flip(2)
        if draw.random() < self.augment.vertical_flip:
            square = square.flip(1)
        return self._policy(square, keys.key("policy", key)).contiguous()

    def _crop(self, rgb: Pixels, draw: np.random.Generator) -> Tensor:
        augment, pre = self.augment, self.pre
        if augment.crop == "none":
            return self._eval(rgb)
        if augment.crop == "simple":
            return crops.shifted_square(rgb, pre.aspect, self.size, pre.interpolation, pre.background, draw)
        height, width = rgb.shape[:2]
        box = crops.random_part(width, height, pre.aspect, augment.scale, augment.ratio, draw)
        return crops.part_as_square(rgb, box, self.size, pre.interpolation, pre.background)


def needed_side(pre: Preprocessing, augment: AugmentPlan | None = None, size: int | None = None) -> int:
    """Pixels the shorter side must keep when a photo is decoded at a reduced scale.

    Without ``augment`` for the evaluation view; with it for training views of ``size``, where the smallest
    random crop must still have as many pixels as the view.
    """
    size = size or pre.size
    if augment is None or augment.crop == "none":
        return SHARPER * pre.at(size).resize_to
    if augment.crop == "simple":
        return SHARPER * size
    return math.ceil(size / math.sqrt(max(augment.scale[0], 0.01)))


def normalise(images: Tensor, pre: Preprocessing, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 [B, 3, H, W] to what the model takes: (value / 255 - mean) / std, bit for bit torchvision's."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}, want uint8")
    mean, std = _channels(pre.mean, images.device), _channels(pre.std, images.device)
    return images.to(torch.float32).div_(255).sub_(mean).div_(std).to(dtype)


def denormalise(images: Tensor, pre: Preprocessing) -> Tensor:
    """The way back, for pictures: float [B, 3, H, W] to uint8, rounded and clipped."""
    mean, std = _channels(pre.mean, images.device), _channels(pre.std, images.device)
    return images.to(torch.float32).mul(std).add_(mean).mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def check_albumentations(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every mistake in ``augment.albumentations``, one sentence each; an empty list where all is well.

    Unknown names and arguments come with the nearest known one; each entry is also tried on a picture.
    """
    return albumentations_adapter.mistakes(_albumentations(), specs)


def _channels(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)


def _policy(augment: AugmentPlan, pre: Preprocessing, size: int) -> Policy:
    if augment.policy == "light" and augment.color_jitter > 0:
        return ColorJitter(augment.color_jitter)
    if augment.policy == "randaugment":
        return RandAugment(augment, pre, size)
    if augment.policy == "three_augment":
        return ThreeAugment(augment.color_jitter)
    if augment.policy == "albumentations":
        return Albumentations(augment.albumentations)
    return _unchanged


def _unchanged(square: Tensor, key: int) -> Tensor:
    return square


class ColorJitter:
    """Brightness, contrast and saturation, each by a factor from 1 - strength to 1 + strength, in random order.

    torchvision's ColorJitter, but calculated in float32 and rounded once at the end.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, square: Tensor, key: int) -> Tensor:
        draw = keys.generator(key)
        low, high = max(0.0, 1 - self.strength), 1 + self.strength
        factors = (low + (high - low) * draw.random(3)).tolist()
        values = square.to(torch.float32)
        for which in draw.permutation(3):
            adjust(values, ("brightness", "contrast", "saturation")[which], factors[which])
        return values.add_(0.5).to(torch.uint8)


def adjust(values: Tensor, what: str, factor: float) -> None:
    """Blend float32 [3, S, S] of 0..255 in place: with black, with its mean grey, or with its grey version."""
    if what == "brightness":
        values.mul_(factor)
    else:
        grey = (values * _GREY).sum(0)
        other = grey if what == "saturation" else grey.mean()
        values.mul_(factor).add_(other, alpha=1 - factor)
    values.clamp_(0, 255)


class ThreeAugment:
    """DeiT III's 3-Augment: grey, solarised or blurred (one of them, evenly), then colour jitter.

    Source: arXiv 2204.07118, section 3.2, and the authors' augment.py: solarised above 128, Gaussian blur of
    radius 0.1 to 2.
    """

    def __init__(self, strength: float) -> None:
        self.jitter = ColorJitter(strength)

    def __call__(self, square: Tensor, key: int) -> Tensor:
        draw = keys.generator(key)
        which = int(3 * draw.random())
        if which == 0:
            square = (square * _GREY).sum(0).add_(0.5).to(torch.uint8).expand(3, -1, -1)
        elif which == 1:
            square = torch.where(square < 128, square, 255 - square)
        else:
            blur = ImageFilter.GaussianBlur(0.1 + 1.9 * draw.random())
            square = _from_image(_to_image(square).filter(blur))
        return self.jitter(square, keys.key("jitter", key))


class RandAugment:
    """timm's ``rand-m{magnitude}-n{operations}-mstd{magnitude_std}-inc1`` with its chance from a key.

    One repair: timm's strongest posterise asks for no bits at all, which Pillow 13 refuses (0.3 % of the
    views at magnitude 9); here at least one bit stays.
    """

    def __init__(self, augment: AugmentPlan, pre: Preprocessing, size: int) -> None:
        from timm.data import auto_augment as timm_ops

        # an affine map knows no Lanczos filter
        filter_name = "bicubic" if pre.interpolation == "lanczos" else pre.interpolation
        settings = {
            "translate_const": int(size * 0.45),
            "img_mean": tuple(min(255, round(255 * value)) for value in pre.mean),
            "interpolation": crops.RESAMPLING[filter_name],
            "magnitude_std": math.inf if augment.magnitude_std > 100 else augment.magnitude_std,
        }
        names = timm_ops.rand_augment_choices("", increasing=True)
        ops = timm_ops.rand_augment_ops(augment.magnitude, prob=0.5, hparams=settings, transforms=names)
        for op in ops:
            if op.name.startswith("Posterize"):
                op.aug_fn = _posterize
        self.augment = timm_ops.RandAugment(ops, augment.operations)

    def __call__(self, square: Tensor, key: int) -> Tensor:
        with keys.seeded_globals(key):
            return _from_image(self.augment(_to_image(square)))


def _posterize(image: Image.Image, bits_to_keep: int, **_: Any) -> Image.Image:
    return image if bits_to_keep >= 8 else ImageOps.posterize(image, max(1, bits_to_keep))


class Albumentations:
    """A user's list of albumentations; seeded from the key each time, since it ignores global seeds."""

    def __init__(self, specs: Sequence[Mapping[str, Any]]) -> None:
        self.compose = albumentations_adapter.build(_albumentations(), specs)

    def __call__(self, square: Tensor, key: int) -> Tensor:
        self.compose.set_random_seed(key)
        rgb = np.array(square.permute(1, 2, 0).numpy(), order="C")
        return crops.planes_of(self.compose(image=rgb)["image"])


def _albumentations() -> ModuleType:
    """The library, told not to ask the network for a newer version of itself."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return cast(ModuleType, albumentations)


def _to_image(square: Tensor) -> Image.Image:
    return Image.fromarray(np.array(square.permute(1, 2, 0).numpy(), order="C"))


def _from_image(image: Image.Image) -> Tensor:
    return crops.planes_of(np.asarray(image))
