"""What "auto" means: one small pure function a field, from the number of photos, the model and the machine.

Every number here is a starting point, marked *source* or *assumed*; a measurement that changes one goes to
``benchmarks/`` and is named at the rule. Rules hold from 200 to 500,000 train photos, and do no harm outside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

Family = Literal["transformer", "convnet"]
Trainable = Literal["all", "attention", "head"]

EPOCHS = ((20, 80.0), (200, 56.0), (1_000, 28.0), (3_000, 14.0), (10_000, 11.0), (100_000, 8.0), (500_000, 7.0))
"""(train photos, passes over them) for a pretrained model. Few photos are seen more often.

14 at 3,000, tried once: with RandAugment, erasing and mixing the val loss of DeiT-Ti on clothing-small still fell
there. The others: assumed.
"""

FROM_SCRATCH_FACTOR = 7.0
FROM_SCRATCH_EPOCHS = 300.0
"""Assumed: without pretraining seven times the passes, at most 300 (DeiT's length on ImageNet)."""

CROP_SHARE = 1.0
"""Share of the shorter side that the centre crop keeps when a model is trained on photos of one's own: all of it.

ImageNet's 0.9 and 0.875 cut off what its photographers left around the object; a product fills its photo. Tried
on clothing-small, val, DeiT-Ti, once each: a lower loss than with 0.9 in each of three fine-tuned models (0.288,
0.291, 0.262 against 0.300, 0.308, 0.282), top-1 the same or 0.6 points higher.
"""

DISTILL_ALPHA = {"hard": 0.5, "soft": 0.1}
"""The teacher's share of the loss. Source: Touvron et al. 2021, arXiv 2012.12877, equations 3 and 2 with section
6.
"""

LR_BATCH = 64
"""The batch that the learning rates below are given for."""

BOTTOM_SHARE: dict[Family, float] = {"transformer": 0.75**13, "convnet": 0.1}
"""Share of the peak learning rate that the lowest layer gets. Source for transformers: 0.75 a layer at depth
12 (Bao et al. 2021, BEiT, arXiv 2106.08254); assumed for convnets."""


def epochs(photos: int, *, pretrained: bool) -> float:
    """Passes over ``photos`` train photos: on a line in log(photos) between ``EPOCHS``, flat outside.

    Fewer for more photos, but never so few that more photos mean fewer views altogether.
    """
    many = _on_line(photos, EPOCHS)
    return many if pretrained else max(many, min(many * FROM_SCRATCH_FACTOR, FROM_SCRATCH_EPOCHS))


def _on_line(value: int, points: Sequence[tuple[int, float]]) -> float:
    if value <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if value <= x1:
            share = (math.log(value) - math.log(x0)) / (math.log(x1) - math.log(x0))
            return y0 + share * (y1 - y0)
    return points[-1][1]


def batch(photos: int, *, repeats: int = 1) -> int:
    """Photos a step: 32 below 1,000 train photos, 64 up to 20,000, 128 up to 100,000, then 256.

    Always even (mixing pairs photos up), a multiple of ``repeats`` (repeated augmentation), and never above
    the number of photos where that leaves any choice. Assumed.
    """
    wanted = 32 if photos < 1_000 else 64 if photos <= 20_000 else 128 if photos <= 100_000 else 256
    unit = math.lcm(2, repeats)
    return max(unit, min(wanted, photos) // unit * unit)


def peak_lr(
    *,
    optimizer: Literal["adamw", "lamb", "sgd"],
    family: Family,
    trainable: Trainable,
    pretrained: bool,
    batch: int,
    parameters: int,
    size: int,
    weights_size: int,
) -> float:
    """Peak learning rate at ``batch``, to three digits, on views of ``size`` pixels.

    AdamW at batch 64: 5e-4 for a pretrained transformer (with layer decay), 1e-3 for a convnet, 1e-3 for
    attention alone, 1e-2 for a head on frozen features, 2.5e-4 for a transformer from scratch (DeiT's 1e-3
    at batch 1024). LAMB takes 3 times as much (DeiT III against DeiT), SGD 10 times. AdamW and LAMB scale with
    the root of the batch, SGD with the batch itself (Goyal et al. 2017, arXiv 1706.02677). Larger models take
    less, see ``size_share``; views smaller than those of the weights more, see ``fewer_pixels_factor``. All but
    the named sources: assumed.
    """
    if trainable == "head":
        base = 1e-2
    elif trainable == "attention":
        base = 1e-3 * size_share(parameters) * fewer_pixels_factor(size, weights_size)
    elif not pretrained:
        base = 2.5e-4 if family == "transformer" else 1e-3
    else:
        base = (5e-4 if family == "transformer" else 1e-3) * size_share(parameters)
        base *= fewer_pixels_factor(size, weights_size)
    factor = {"adamw": 1.0, "lamb": 3.0, "sgd": 10.0}[optimizer]
    growth = batch / LR_BATCH if optimizer == "sgd" else math.sqrt(batch / LR_BATCH)
    return float(f"{base * factor * growth:.3g}")


def size_share(parameters: int) -> float:
    """Share of the learning rate that a pretrained model of this size bears: 1 up to 30 million parameters,
    then falling with the root, 0.59 for a ViT-B, 0.31 for a ViT-L. Assumed."""
    return min(1.0, math.sqrt(30e6 / max(parameters, 1)))


def fewer_pixels_factor(size: int, weights_size: int) -> float:
    """How much faster a pretrained model has to learn on views of ``size`` pixels than on those of its weights.

    As much as these are larger, at most 3 times; never slower. What was learned at 224 fits views of 96 badly, and
    the passes over the photos are no more. Measured at 96 pixels on clothing-small (val,
    ``records/lr-sweep.jsonl``): three times the rate was better for DeiT-Ti, MobileNetV2 and ViT-Ti. For DeiT-Ti
    seven times was better still, once: at that distance the rule remains careful.
    """
    return min(3.0, max(1.0, weights_size / size))


def layer_decay(*, family: Family, trainable: Trainable, pretrained: bool, depth: int) -> float:
    """Factor on the learning rate from each layer to the one below.

    So that the lowest layer gets the same share whatever the depth: 0.75 for 12 blocks, 0.86 for 24. 1 (none)
    where there is nothing below to protect: from scratch, and for a head alone.
    """
    if trainable == "head" or not pretrained:
        return 1.0
    return round(math.pow(BOTTOM_SHARE[family], 1 / (max(depth, 1) + 1)), 4)


def drop_path(*, family: Family, trainable: Trainable, photos: int, parameters: int) -> float:
    """Stochastic depth of the last block: 0.1 for transformers as DeiT, 0.05 for tiny ones (below 10 million
    parameters) on less than 1,000 photos, 0 for convnets and for a frozen body. The small-data case: assumed."""
    if family == "convnet" or trainable == "head":
        return 0.0
    return 0.05 if parameters < 10e6 and photos < 1_000 else 0.1


def warmup_steps(total_steps: int, steps_per_epoch: int) -> int:
    """A tenth of the steps, at most five epochs (DeiT's), never all of them."""
    return max(0, min(round(0.1 * total_steps), 5 * steps_per_epoch, total_steps - 1))


def crop_scale(photos: int) -> tuple[float, float]:
    """Share of the area that a random crop keeps: at least 0.35 below 1,000 train photos, then DeiT's 0.08.
    Assumed: with few views, crops that miss the object cost more than they teach."""
    return (0.35 if photos < 1_000 else 0.08, 1.0)


def ema_decay(total_steps: int) -> float:
    """Decay of the running average of the weights: its memory (1 / (1 - decay) steps) is a tenth of the run,
    between 1,000 and 10,000 steps. Assumed; the warm-up of the decay takes care of runs that are shorter."""
    return round(min(0.9999, max(0.999, 1 - 10 / max(total_steps, 1))), 6)


def train_size(size: int, *, full_size_from: float, fixed_size: bool, model: str) -> int:
    """Pixels a side before ``full_size_from``: about 5/7 of the full size (160 for 224), in whole patches.

    The full size where training is at full size throughout, and for models that have only one size.
    Source: Touvron et al. 2019, arXiv 1906.06423 (train small, then adapt at full size).
    """
    if not full_size_from or fixed_size:
        return size
    unit = size_unit(size, model)
    return min(size, max(unit, round(size * 5 / 7 / unit) * unit))


def size_unit(size: int, model: str) -> int:
    """What image sizes of this model are multiples of: its patch where the name says it, else 32.

    Patches that divide 32 give 32, so that kernels see round shapes, where the full size is such a multiple.
    """
    found = re.search(r"patch(\d+)", model)
    patch = int(found.group(1)) if found else 32
    return 32 if 32 % patch == 0 and size % 32 == 0 else patch


def bytes_per_image(*, family: Family, parameters: int, depth: int, size: int, half: bool) -> float:
    """A rough estimate of the activations that one training image holds until its gradient is there.

    Transformers: 18 values a token, width and block, of 4 bytes; the width from parameters = 12 depth width²,
    tokens from a patch of 16. A DeiT-S then takes 65 MB at 224. Convnets: 40 MB at 224 for a million
    parameters, growing with the power 0.4: 146 MB for a ResNet-50. Half precision keeps 0.6 of it (norms and
    the loss stay whole). Assumed, meant to be too high rather than too low: half as much again is added.
    """
    if family == "transformer":
        width = math.sqrt(parameters / (12 * max(depth, 1)))
        estimate = max(depth, 1) * 18 * 4 * (size / 16) ** 2 * width
    else:
        estimate = 40e6 * (parameters / 1e6) ** 0.4 * (size / 224) ** 2
    return 1.5 * estimate * (0.6 if half else 1.0)


def micro_batch(batch: int, *, memory_bytes: int, device: str, parameters: int, image_bytes: float) -> int:
    """Photos in memory at once: the largest divisor of ``batch`` that fits, even where there is an even one.

    Of the memory, 80 % on an accelerator and 40 % on a processor (which others use too), less 20 bytes a
    parameter: weight, gradient, two moments, average.
    """
    usable = (0.4 if device == "cpu" else 0.8) * memory_bytes - 20 * parameters
    fitting = usable / image_bytes
    divisors = [count for count in range(1, batch + 1) if batch % count == 0]
    even = [count for count in divisors if count % 2 == 0] or divisors
    return max((count for count in even if count <= fitting), default=even[0])


def class_weights(
    name: Literal["none", "inverse", "inverse_sqrt", "effective"], counts: Sequence[int]
) -> tuple[float, ...] | None:
    """One factor a class on the loss of its photos, of mean 1 over the train photos; None for "none".

    ``inverse``: 1 / count. ``inverse_sqrt``: 1 / root of count. ``effective``: (1 - b) / (1 - b^count) with
    b = 0.999, the effective number of samples (Cui et al. 2019, arXiv 1901.05555, equation 2).
    """
    if name == "none":
        return None
    present = [max(count, 1) for count in counts]
    if name == "inverse":
        raw = [1 / count for count in present]
    elif name == "inverse_sqrt":
        raw = [1 / math.sqrt(count) for count in present]
    else:
        raw = [(1 - 0.999) / (1 - 0.999**count) for count in present]
    mean = sum(weight * count for weight, count in zip(raw, present, strict=True)) / sum(present)
    return tuple(weight / mean for weight in raw)


def log_every(total_steps: int, steps_per_epoch: int) -> int:
    """Steps a log window: 10, less where an epoch or the run is shorter. One wait for the device each."""
    return max(1, min(10, steps_per_epoch, total_steps))


def channels_last(*, family: Family, device: str) -> bool:
    """Convnets compute faster with the channels last; transformers have no use for it, nor has mps."""
    return family == "convnet" and not device.startswith("mps")
